package com.example.lambda;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON texts to values and back, by RFC 8259, because java.base has no JSON. An object is a {@link Map} in its order (of
 * two members of one name the last one counts), an array a {@link List}, a number a {@link BigDecimal} with every digit it
 * had; strings, booleans and null are themselves.
 */
public final class Json {

    /** Deeper than any sensible value, and far from the end of the stack. */
    private static final int MAX_DEPTH = 512;

    /** Reading digits takes time in the square of their number, so a caller must not choose it freely. */
    private static final int MAX_NUMBER_LENGTH = 1000;

    /** The names met so far: the objects of a list have the same ones, and share them. */
    private final Map<String, String> names = new HashMap<>();

    private final String text;
    private final int end;
    private int at;
    private int depth;

    private Json(String text) {
        this.text = text;
        this.end = text.length();
    }

    /** @throws IllegalArgumentException where the text is not JSON, with the place */
    public static Object read(String text) {
        Json reader = new Json(text);
        Object value = reader.value();
        if (reader.peek() != END) {
            throw reader.wrong("nothing more was expected");
        }
        return value;
    }

    /** @throws IllegalArgumentException where the value has no form in JSON */
    public static String write(Object value) {
        StringBuilder json = new StringBuilder();
        write(value, json);
        return json.toString();
    }

    private static void write(Object value, StringBuilder json) {
        if (value == null || value instanceof Boolean || value instanceof BigDecimal
                || value instanceof Integer || value instanceof Long) {
            json.append(value);
        } else if (value instanceof CharSequence text) {
            quote(text.toString(), json);
        } else if (value instanceof Map<?, ?> map) {
            char separator = '{';
            for (Map.Entry<?, ?> member : map.entrySet()) {
                quote((String) member.getKey(), json.append(separator));
                write(member.getValue(), json.append(':'));
                separator = ',';
            }
            json.append(map.isEmpty() ? "{}" : "}");
        } else if (value instanceof List<?> list) {
            char separator = '[';
            for (Object element : list) {
                write(element, json.append(separator));
                separator = ',';
            }
            json.append(list.isEmpty() ? "[]" : "]");
        } else {
            throw new IllegalArgumentException("no JSON for a " + value.getClass().getName());
        }
    }

    /** Surrogates that lack their other half are escaped: UTF-8 can't carry them. */
    private static void quote(String text, StringBuilder json) {
        json.append('"');
        int end = text.length();
        int plain = 0;
        while (plain < end && isPlain(text.charAt(plain))) {
            plain++;
        }
        if (plain == end) {
            json.append(text).append('"');
            return;
        }
        json.append(text, 0, plain);
        for (int i = plain; i < end; i++) {
            char c = text.charAt(i);
            if (isPlain(c)) {
                json.append(c);
            } else if (c == '"' || c == '\\') {
                json.append('\\').append(c);
            } else if (Character.isHighSurrogate(c) && i + 1 < end && Character.isLowSurrogate(text.charAt(i + 1))) {
                json.append(c).append(text.charAt(++i));
            } else {
                String digits = Integer.toHexString(c);
                json.append("\\u").append("0000", 0, 4 - digits.length()).append(digits);
            }
        }
        json.append('"');
    }

    private static boolean isPlain(char c) {
        return c >= ' ' && c != '"' && c != '\\' && (c < Character.MIN_SURROGATE || c > Character.MAX_SURROGATE);
    }

    private static final int END = -1;

    /** The next character that is not white space, {@link #END} where there is none. */
    private int peek() {
        for (; at < end; at++) {
            char c = text.charAt(at);
            if (c > ' ' || c != ' ' && c != '\t' && c != '\n' && c != '\r') {
                return c;
            }
        }
        return END;
    }

    private boolean takeIf(char expected) {
        if (peek() != expected) {
            return false;
        }
        at++;
        return true;
    }

    private void take(char expected, String what) {
        if (!takeIf(expected)) {
            throw wrong(what + " was expected");
        }
    }

    private IllegalArgumentException wrong(String what) {
        return new IllegalArgumentException("not JSON at character " + (at + 1) + ": " + what);
    }

    private Object value() {
        return switch (peek()) {
            case '{' -> object();
            case '[' -> array();
            case '"' -> string();
            case 't' -> literal("true", Boolean.TRUE);
            case 'f' -> literal("false", Boolean.FALSE);
            case 'n' -> literal("null", null);
            default -> number();
        };
    }

    private Map<String, Object> object() {
        enter();
        Map<String, Object> object = new LinkedHashMap<>(4);
        if (peek() != '}') {
            do {
                if (peek() != '"') {
                    throw wrong("the name of a member was expected");
                }
                String name = string();
                String known = names.putIfAbsent(name, name);
                take(':', "a colon");
                object.put(known == null ? name : known, value());
            } while (takeIf(','));
        }
        take('}', "a comma or a closing brace");
        depth--;
        return object;
    }

    private List<Object> array() {
        enter();
        List<Object> array = new ArrayList<>();
        if (peek() != ']') {
            do {
                array.add(value());
            } while (takeIf(','));
        }
        take(']', "a comma or a closing bracket");
        depth--;
        return array;
    }

    private void enter() {
        if (depth == MAX_DEPTH) {
            throw wrong("it is nested deeper than " + MAX_DEPTH);
        }
        depth++;
        at++;
    }

    private Object literal(String literal, Object value) {
        if (!text.startsWith(literal, at)) {
            throw wrong("a value was expected");
        }
        at += literal.length();
        return value;
    }

    private BigDecimal number() {
        int from = at;
        takeIfHere('-');
        if (!takeIfHere('0')) {
            digits("a value");
        }
        if (takeIfHere('.')) {
            digits("a digit");
        }
        if (takeIfHere('e') || takeIfHere('E')) {
            if (!takeIfHere('+')) {
                takeIfHere('-');
            }
            digits("a digit");
        }
        if (at - from > MAX_NUMBER_LENGTH) {
            throw wrong("a number is longer than " + MAX_NUMBER_LENGTH + " characters");
        }
        try {
            return new BigDecimal(text.substring(from, at));
        } catch (NumberFormatException tooLarge) {
            throw wrong("a number's exponent is too large");
        }
    }

    private boolean takeIfHere(char expected) {
        if (at < end && text.charAt(at) == expected) {
            at++;
            return true;
        }
        return false;
    }

    private void digits(String what) {
        int from = at;
        while (at < end && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
            at++;
        }
        if (at == from) {
            throw wrong(what + " was expected");
        }
    }

    private String string() {
        at++;
        int from = at;
        StringBuilder decoded = null;
        while (true) {
            char c = at < end ? text.charAt(at) : '\0';
            if (c == '"') {
                String rest = text.substring(from, at++);
                return decoded == null ? rest : decoded.append(rest).toString();
            }
            if (c < ' ') {
                throw wrong(at < end ? "a control character stands in a string" : "a string is not closed");
            }
            if (c == '\\') {
                if (decoded == null) {
                    decoded = new StringBuilder();
                }
                decoded.append(text, from, at);
                at++;
                decoded.append(escape());
                from = at;
            } else {
                at++;
            }
        }
    }

    private char escape() {
        char c = at < end ? text.charAt(at) : '\0';
        at++;
        switch (c) {
            case '"', '\\', '/':
                return c;
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case 'u':
                int unit = 0;
                for (int i = 0; i < 4; i++, at++) {
                    int digit = at < end && text.charAt(at) < 128 ? Character.digit(text.charAt(at), 16) : -1;
                    if (digit < 0) {
                        throw wrong("four hexadecimal digits were expected");
                    }
                    unit = unit << 4 | digit;
                }
                return (char) unit;
            default:
                at--;
                throw wrong("no such escape");
        }
    }
}
