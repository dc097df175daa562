package com.example.orders;

import com.example.lambda.HandlerLoop;
import com.example.lambda.Json;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Prices an order like
 *
 * <pre>{@code
 * {"customer":"Zoë","taxRate":0.19,"lines":[{"sku":"tea","quantity":12,"unitPrice":3.50}]}
 * }</pre>
 *
 * <p>A line of 10 pieces or more is 5 % cheaper, and an order from 1000 on 2 % more. Each amount is rounded to cents where
 * it arises, half up, as on an invoice, so that the amounts add up.
 */
public final class PriceOrder implements HandlerLoop.Handler {

    private static final BigDecimal MAX_QUANTITY = new BigDecimal("10000");
    private static final BigDecimal MAX_PRICE = new BigDecimal("1000000");

    private static final BigDecimal BULK_QUANTITY = BigDecimal.TEN;
    private static final BigDecimal BULK_RATE = new BigDecimal("0.05");
    private static final BigDecimal LARGE_ORDER = new BigDecimal("1000");
    private static final BigDecimal LARGE_ORDER_RATE = new BigDecimal("0.02");

    @Override
    public String handle(String event, HandlerLoop.Context context) {
        Object order;
        try {
            order = Json.read(event);
        } catch (IllegalArgumentException failure) {
            throw new InvalidOrder("the order can't be read: " + failure.getMessage(), failure);
        }
        Map<String, Object> priced = price(order);
        // The name is quoted, because a line break in it would end the log line, and begin another at the caller's wish.
        System.out.println("priced an order for " + shown(priced.get("customer")) + ", "
                + context.remainingMs() + " ms left");
        return Json.write(priced);
    }

    /** Takes what is JSON but for the byte order mark in front of it. */
    @Override
    public String handleBytes(byte[] event, HandlerLoop.Context context) {
        if (event.length < 3 || event[0] != (byte) 0xEF || event[1] != (byte) 0xBB || event[2] != (byte) 0xBF) {
            throw new InvalidOrder("the event is not JSON in UTF-8");
        }
        return handle(new String(event, 3, event.length - 3, StandardCharsets.UTF_8), context);
    }

    private static Map<String, Object> price(Object event) {
        if (!(event instanceof Map<?, ?> order)) {
            throw new InvalidOrder("the order must be an object, not " + shown(event));
        }
        if (!(order.get("lines") instanceof List<?> lines) || lines.isEmpty()) {
            throw new InvalidOrder("lines must be a list of at least one line, not " + shown(order.get("lines")));
        }
        BigDecimal taxRate = order.containsKey("taxRate")
                ? number("the order", order, "taxRate", BigDecimal.ZERO, BigDecimal.ONE, 4)
                : BigDecimal.ZERO;

        List<Object> pricedLines = new ArrayList<>(lines.size());
        BigDecimal subtotal = BigDecimal.ZERO;
        BigDecimal discount = BigDecimal.ZERO;
        for (int i = 0; i < lines.size(); i++) {
            String place = "line " + (i + 1);
            if (!(lines.get(i) instanceof Map<?, ?> line)) {
                throw new InvalidOrder(place + " must be an object, not " + shown(lines.get(i)));
            }
            if (!(line.get("sku") instanceof String sku) || sku.isBlank()) {
                throw new InvalidOrder(place + ": sku must be a text, not " + shown(line.get("sku")));
            }
            BigDecimal quantity = number(place, line, "quantity", BigDecimal.ONE, MAX_QUANTITY, 0);
            BigDecimal unitPrice = number(place, line, "unitPrice", BigDecimal.ZERO, MAX_PRICE, 2);
            BigDecimal amount = cents(quantity.multiply(unitPrice));
            subtotal = subtotal.add(amount);
            if (quantity.compareTo(BULK_QUANTITY) >= 0) {
                discount = discount.add(cents(amount.multiply(BULK_RATE)));
            }
            Map<String, Object> priced = new LinkedHashMap<>();
            priced.put("sku", sku);
            priced.put("quantity", quantity);
            priced.put("amount", amount);
            pricedLines.add(priced);
        }
        if (subtotal.compareTo(LARGE_ORDER) >= 0) {
            discount = discount.add(cents(subtotal.subtract(discount).multiply(LARGE_ORDER_RATE)));
        }
        BigDecimal net = subtotal.subtract(discount);
        BigDecimal tax = cents(net.multiply(taxRate));

        Map<String, Object> priced = new LinkedHashMap<>();
        if (order.get("customer") instanceof String customer) {
            priced.put("customer", customer);
        }
        priced.put("lines", pricedLines);
        priced.put("subtotal", cents(subtotal));
        priced.put("discount", cents(discount));
        priced.put("tax", tax);
        priced.put("total", cents(net.add(tax)));
        return priced;
    }

    /** Checks a number before anything is calculated with it: 1e999999999 is cheap to compare, but not to add to. */
    private static BigDecimal number(
            String place, Map<?, ?> object, String name, BigDecimal least, BigDecimal most, int decimals) {
        if (object.get(name) instanceof BigDecimal number
                && number.compareTo(least) >= 0
                && number.compareTo(most) <= 0) {
            BigDecimal shortest = number.stripTrailingZeros();
            if (shortest.scale() <= decimals) {
                return shortest.setScale(decimals);
            }
        }
        String kind = decimals == 0 ? "a whole number" : "a number with at most " + decimals + " decimals";
        throw new InvalidOrder(place + ": " + name + " must be " + kind + ", " + least + " to " + most
                + ", not " + shown(object.get(name)));
    }

    private static BigDecimal cents(BigDecimal amount) {
        return amount.setScale(2, RoundingMode.HALF_UP);
    }

    private static String shown(Object value) {
        String json = Json.write(value);
        return json.length() <= 80 ? json : json.substring(0, 80) + "...";
    }
}
