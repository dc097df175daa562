package com.example.lambda;

import java.io.BufferedOutputStream;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A handler's loop: reads one message a line from stdin, has it handled, and replies with one line. Copy this file
 * into your project; it needs nothing but java.base.
 *
 * <pre>{@code
 * public static void main(String[] arguments) {
 *     HandlerLoop.run((event, context) -> "{\"bytes\":" + event.length() + "}");
 * }
 * }</pre>
 *
 * <p>Events and responses are JSON texts. The loop only finds where the event stands in the message and never parses it,
 * so the handler sees it as it was sent: number text, order of keys, escapes.
 *
 * <p>While the loop runs, {@code System.out} and {@code System.err} are logs, in UTF-8 whatever the locale is, and
 * {@code System.in} is empty, so that no library can take a message away.
 */
public final class HandlerLoop {

    /** Handles one event at a time. Whatever it throws becomes the error reply, and the next event comes as usual. */
    @FunctionalInterface
    public interface Handler {

        /**
         * @param event the event, a JSON text
         * @return the response, a JSON text; null stands for the JSON null
         */
        String handle(String event, Context context) throws Exception;

        /** Handles an event that is not JSON, which comes as its bytes. */
        default String handleBytes(byte[] event, Context context) throws Exception {
            throw new IllegalArgumentException("the event is not JSON");
        }
    }

    /**
     * What is known of an invocation. Unknown members are null, {@code deadlineMs} is 0 then.
     *
     * @param deadlineMs when the invocation must have ended, in milliseconds since 1970
     * @param clientContext a JSON text, as the caller sent it
     * @param identity a JSON text: the Cognito identity of the caller
     */
    public record Context(
            String requestId,
            long deadlineMs,
            String invokedFunctionArn,
            String traceId,
            String traceparent,
            String tenantId,
            String clientContext,
            String identity,
            String functionName,
            String functionVersion,
            String memoryLimitInMB,
            String logGroupName,
            String logStreamName) {

        /** The time that is left until the deadline, {@link Long#MAX_VALUE} where none is known. */
        public long remainingMs() {
            return deadlineMs == 0 ? Long.MAX_VALUE : Math.max(0, deadlineMs - System.currentTimeMillis());
        }
    }

    /** Where the X-Ray SDK for Java looks for the trace header, because a process can't set its own environment. */
    private static final String TRACE_PROPERTY = "com.amazonaws.xray.traceHeader";

    private static final int CHUNK = 64 * 1024;
    /** As much as Java reads without asking the system for memory first. */
    private static final int SMALL_CHUNK = 8 * 1024;
    private static final int SLICE = 32 * 1024;
    /** What stands around a reply's id. */
    private static final byte[] ID = "\n{\"id\":".getBytes(StandardCharsets.UTF_8);
    private static final byte[] RESPONSE = ",\"response\":".getBytes(StandardCharsets.UTF_8);
    private static final byte[] ERROR = ",\"error\":".getBytes(StandardCharsets.UTF_8);
    private static final int MAX_CAUSES = 10;
    private static final int MAX_FRAMES = 100;

    private final Lines lines;
    private final OutputStream replies;
    private final Handler handler;

    private HandlerLoop(InputStream messages, OutputStream replies, Handler handler) {
        this.lines = new Lines(messages);
        this.replies = new BufferedOutputStream(replies, 2 * SLICE);
        this.handler = handler;
    }

    /**
     * Serves this process's stdin until it ends, and then ends the process, even where other threads are still running:
     * the end of stdin means that bootstrap is gone or wants the handler to go.
     */
    public static void run(Handler handler) {
        PrintStream stderr = printer(FileDescriptor.err);
        OutputStream replies = replyChannel();
        System.setErr(stderr);
        // Replies and logs may share stdout, but a log line that is not yet ended would swallow the reply behind it. Where
        // there is no channel for replies alone, System.out therefore goes to stderr.
        System.setOut(replies == null ? stderr : printer(FileDescriptor.out));
        System.setIn(InputStream.nullInputStream());
        int status = 0;
        try {
            InputStream messages = new FileInputStream(FileDescriptor.in);
            loop(messages, replies == null ? new FileOutputStream(FileDescriptor.out) : replies, handler);
        } catch (Throwable failure) {
            failure.printStackTrace();
            status = 1;
        }
        System.exit(status);
    }

    /** Serves any two streams until the first one ends. */
    public static void loop(InputStream messages, OutputStream replies, Handler handler) throws IOException {
        new HandlerLoop(messages, replies, handler).serve();
    }

    /** The file descriptor that bootstrap names for replies alone, or null where it is not there. */
    private static OutputStream replyChannel() {
        String descriptor = System.getenv("BOOTSTRAP_REPLY_FD");
        if (descriptor == null) {
            return null;
        }
        // Java can't adopt a descriptor by its number, but the system lets it open the same pipe again by its name. Only a
        // pipe will do: where the variable is stale, the descriptor may be a file that the virtual machine has opened.
        File file = new File("/dev/fd/" + descriptor);
        if (!file.exists() || file.isFile() || file.isDirectory()) {
            return null;
        }
        try {
            return new FileOutputStream(file, true);
        } catch (IOException failure) {
            return null;
        }
    }

    private static PrintStream printer(FileDescriptor descriptor) {
        return new PrintStream(new FileOutputStream(descriptor), true, StandardCharsets.UTF_8);
    }

    private void serve() throws IOException {
        while (lines.next()) {
            Message message = new Message(lines.buffer, lines.start, lines.end, lines.ascii);
            try {
                message.read();
            } catch (RuntimeException failure) {
                System.err.println("a message was ignored: " + failure);
                continue;
            }
            if (message.asksForReply()) {
                answer(message);
            }
        }
    }

    private void answer(Message message) throws IOException {
        byte[] value;
        Throwable failure = null;
        try {
            value = handled(message);
        } catch (Throwable thrown) {
            failure = thrown;
            value = error(thrown).getBytes(StandardCharsets.UTF_8);
        }
        // An interrupt that was meant for this invocation must not end the next one's first wait.
        Thread.interrupted();
        System.out.flush();
        System.err.flush();
        reply(message.rawId, failure == null ? RESPONSE : ERROR, value);
        // A virtual machine that has run out of something may lack it for good. Bootstrap starts a fresh one; the reply
        // counts. A stack that was too deep is another matter: it is empty again.
        if (failure instanceof VirtualMachineError broken && !(failure instanceof StackOverflowError)) {
            throw broken;
        }
    }

    private byte[] handled(Message message) throws Exception {
        Context context = message.context();
        if (context.traceId() == null) {
            System.clearProperty(TRACE_PROPERTY);
        } else {
            System.setProperty(TRACE_PROPERTY, context.traceId());
        }
        String response;
        if (message.isJson()) {
            String event = message.takeEvent();
            lines.release();
            response = handler.handle(event, context);
        } else {
            byte[] event = Base64.getDecoder().decode(message.takeEvent());
            lines.release();
            response = handler.handleBytes(event, context);
        }
        byte[] value = String.valueOf(response).getBytes(StandardCharsets.UTF_8);
        joinLines(value);
        return value;
    }

    /** In a JSON text a line break can stand only between tokens, where a space does as well. */
    private static void joinLines(byte[] json) {
        for (int i = 0, end = json.length; i < end; i++) {
            byte b = json[i];
            if (b <= '\r' && b >= '\n') {
                json[i] = ' ';
            }
        }
    }

    /**
     * Writes the reply's line. It begins with a line break, so that whatever native code has printed to the same channel
     * without ending its line stays a line of its own; empty lines are ignored.
     */
    private void reply(byte[] id, byte[] member, byte[] value) throws IOException {
        replies.write(ID);
        replies.write(id);
        replies.write(member);
        // In slices, because Java copies what is written at once into native memory of the same size first.
        for (int from = 0; from < value.length; from += SLICE) {
            replies.write(value, from, Math.min(SLICE, value.length - from));
        }
        replies.write('}');
        replies.write('\n');
        replies.flush();
    }

    /** The error in the form that Lambda knows. The stack of each cause follows under its name. */
    private static String error(Throwable failure) {
        List<String> stackTrace = new ArrayList<>();
        Throwable cause = failure;
        for (int causes = 0; cause != null && causes < MAX_CAUSES; causes++) {
            if (causes > 0) {
                stackTrace.add("Caused by: " + cause.getClass().getName() + ": " + message(cause));
            }
            StackTraceElement[] frames = cause.getStackTrace();
            for (int i = 0; i < frames.length && i < MAX_FRAMES; i++) {
                // What stands below the handler is the same for every error.
                if (frames[i].getClassName().equals(HandlerLoop.class.getName())) {
                    break;
                }
                stackTrace.add(frames[i].toString());
            }
            cause = cause.getCause();
        }
        StringBuilder json = new StringBuilder("{\"errorType\":");
        quote(failure.getClass().getName(), json).append(",\"errorMessage\":");
        quote(message(failure), json).append(",\"stackTrace\":[");
        for (int i = 0; i < stackTrace.size(); i++) {
            quote(stackTrace.get(i), i == 0 ? json : json.append(','));
        }
        return json.append("]}").toString();
    }

    private static String message(Throwable failure) {
        try {
            String message = failure.getMessage();
            return message == null ? "" : message;
        } catch (Throwable another) {
            return "";
        }
    }

    /** Appends a text as a JSON string. Surrogates that lack their other half are escaped: UTF-8 can't carry them. */
    private static StringBuilder quote(String text, StringBuilder json) {
        json.append('"');
        for (int i = 0, end = text.length(); i < end; i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                json.append('\\').append(c);
            } else if (Character.isHighSurrogate(c) && i + 1 < text.length()
                    && Character.isLowSurrogate(text.charAt(i + 1))) {
                json.append(c).append(text.charAt(++i));
            } else if (c < ' ' || Character.isSurrogate(c)) {
                String digits = Integer.toHexString(c);
                json.append("\\u").append("0000", 0, 4 - digits.length()).append(digits);
            } else {
                json.append(c);
            }
        }
        return json.append('"');
    }

    /**
     * Splits a stream into lines of any length, as bytes: {@code buffer} from {@code start} to {@code end}, which are ASCII
     * where {@code ascii} says so.
     */
    private static final class Lines {

        private final InputStream in;
        private byte[] buffer = new byte[CHUNK];
        private int start;
        private int end;
        private boolean ascii;
        private int next;
        private int filled;

        Lines(InputStream in) {
            this.in = in;
        }

        /** Moves on to the next line; false when the stream has ended. */
        boolean next() throws IOException {
            start = next;
            int scanned = start;
            int all = 0;
            while (true) {
                // This runs for every byte, first of all in the interpreter, which is slow on fields.
                byte[] bytes = buffer;
                int last = filled;
                byte b;
                while (scanned < last && (b = bytes[scanned]) != '\n') {
                    all |= b;
                    scanned++;
                }
                if (scanned < last) {
                    end = scanned;
                    next = scanned + 1;
                    ascii = all >= 0; // a byte that is not ASCII is negative
                    return true;
                }
                if (start > 0) {
                    System.arraycopy(buffer, start, buffer, 0, filled - start);
                    filled -= start;
                    scanned = filled;
                    start = 0;
                }
                if (filled == buffer.length) {
                    buffer = Arrays.copyOf(buffer, 2 * buffer.length);
                }
                int most = filled == 0 ? SMALL_CHUNK : CHUNK;
                int count = in.read(buffer, filled, Math.min(most, buffer.length - filled));
                if (count < 0) {
                    // Bytes after the last line break are a line too.
                    end = filled;
                    next = filled;
                    ascii = all >= 0;
                    return end > start;
                }
                filled += count;
            }
        }

        /** Lets go of the memory that a long line took, so that the handler can have it. */
        void release() {
            if (buffer.length > CHUNK && filled - next <= CHUNK) {
                buffer = Arrays.copyOf(Arrays.copyOfRange(buffer, next, filled), CHUNK);
                filled -= next;
                next = 0;
            }
        }
    }

    /**
     * One message, in the bytes that it came in, taken apart as far as the loop needs it. Members that it does not know are
     * skipped.
     */
    private static final class Message {

        private byte[] bytes;
        private final int end;
        private final Charset charset;
        private int at;

        private String id;
        private byte[] rawId;
        private final Map<String, String> context = new HashMap<>();
        private boolean json;
        private int eventStart = -1;
        private int eventEnd;

        Message(byte[] bytes, int start, int end, boolean ascii) {
            this.bytes = bytes;
            this.at = start;
            this.end = end;
            // The same for ASCII, but its bytes become a string without being looked at.
            this.charset = ascii ? StandardCharsets.ISO_8859_1 : StandardCharsets.UTF_8;
        }

        /** A message with no event is for handlers that know more than this one. */
        boolean asksForReply() {
            return id != null && eventStart >= 0;
        }

        boolean isJson() {
            return json;
        }

        /** Takes the event's text, or the base64 of what is not JSON, and lets go of the bytes. */
        String takeEvent() {
            at = eventStart;
            String event = json ? text(eventStart, eventEnd) : string();
            bytes = null;
            return event;
        }

        Context context() {
            long deadlineMs = 0;
            try {
                deadlineMs = Long.parseLong(context.getOrDefault("deadlineMs", "0"));
            } catch (NumberFormatException unreadable) {
                // The same as unknown.
            }
            return new Context(
                    id,
                    deadlineMs,
                    context.get("invokedFunctionArn"),
                    context.get("traceId"),
                    context.get("traceparent"),
                    context.get("tenantId"),
                    context.get("clientContext"),
                    context.get("identity"),
                    context.get("functionName"),
                    context.get("functionVersion"),
                    context.get("memoryLimitInMB"),
                    context.get("logGroupName"),
                    context.get("logStreamName"));
        }

        void read() {
            if (peek() == 0) {
                return; // an empty line
            }
            take('{');
            for (boolean more = peek() != '}'; more; more = takeIf(',')) {
                String name = string();
                take(':');
                switch (name) {
                    case "id" -> {
                        peek();
                        int from = at;
                        id = string();
                        rawId = Arrays.copyOfRange(bytes, from, at);
                    }
                    case "context" -> readContext();
                    case "event", "eventBase64" -> {
                        json = name.equals("event");
                        peek();
                        eventStart = at;
                        skip();
                        eventEnd = at;
                    }
                    default -> skip();
                }
            }
            take('}');
        }

        private void readContext() {
            take('{');
            for (boolean more = peek() != '}'; more; more = takeIf(',')) {
                String name = string();
                take(':');
                boolean json = name.equals("clientContext") || name.equals("identity");
                context.put(name, json || peek() != '"' ? value() : string());
            }
            take('}');
        }

        /** The next byte that is not white space, 0 at the end. */
        private int peek() {
            while (at < end && (bytes[at] == ' ' || bytes[at] == '\t' || bytes[at] == '\r')) {
                at++;
            }
            return at < end ? bytes[at] : 0;
        }

        private boolean takeIf(char expected) {
            if (peek() != expected) {
                return false;
            }
            at++;
            return true;
        }

        private void take(char expected) {
            if (!takeIf(expected)) {
                throw new IllegalArgumentException("no " + expected + " where it was expected");
            }
        }

        private String value() {
            peek();
            int from = at;
            skip();
            return text(from, at);
        }

        private String text(int from, int to) {
            return new String(bytes, from, to - from, charset);
        }

        /** Passes over one value of any depth. The message is known to be JSON, so only its end has to be found. */
        private void skip() {
            int first = peek();
            if (first == '"') {
                skipString();
            } else if (first == '{' || first == '[') {
                skipNested();
            } else {
                while (at < end && isScalar(bytes[at])) {
                    at++;
                }
            }
        }

        private static boolean isScalar(byte b) {
            return b != ',' && b != '}' && b != ' ' && b != '\t' && b != '\r';
        }

        /** Passes over an object or an array, where only strings and brackets count. */
        private void skipNested() {
            // In local variables, as in Lines.next.
            byte[] text = bytes;
            int last = end;
            int i = at;
            int depth = 0;
            while (i < last) {
                byte b = text[i++];
                if (b == '"') {
                    while (i < last && (b = text[i]) != '"') {
                        i += b == '\\' ? 2 : 1;
                    }
                    i++;
                } else if (b == '{' || b == '[') {
                    depth++;
                } else if ((b == '}' || b == ']') && --depth == 0) {
                    at = i;
                    return;
                }
            }
            throw new IllegalArgumentException("it ends too early");
        }

        /** Passes over a string; true where it has an escape. */
        private boolean skipString() {
            // In local variables, as in Lines.next.
            byte[] text = bytes;
            int last = end;
            int i = at + 1;
            boolean escaped = false;
            while (i < last && text[i] != '"') {
                if (text[i] == '\\') {
                    escaped = true;
                    i++;
                }
                i++;
            }
            if (i >= last) {
                throw new IllegalArgumentException("it ends inside a string");
            }
            at = i + 1;
            return escaped;
        }

        private String string() {
            if (peek() != '"') {
                throw new IllegalArgumentException("no string where it was expected");
            }
            int from = at + 1;
            boolean escaped = skipString();
            String raw = text(from, at - 1);
            if (!escaped) {
                return raw;
            }
            StringBuilder text = new StringBuilder(raw.length());
            int copied = 0;
            for (int escape = raw.indexOf('\\'); escape >= 0; escape = raw.indexOf('\\', copied)) {
                text.append(raw, copied, escape);
                char c = raw.charAt(escape + 1);
                copied = escape + 2;
                switch (c) {
                    case 'b' -> text.append('\b');
                    case 'f' -> text.append('\f');
                    case 'n' -> text.append('\n');
                    case 'r' -> text.append('\r');
                    case 't' -> text.append('\t');
                    case 'u' -> {
                        text.append((char) Integer.parseInt(raw.substring(copied, copied + 4), 16));
                        copied += 4;
                    }
                    default -> text.append(c);
                }
            }
            return text.append(raw, copied, raw.length()).toString();
        }
    }
}
