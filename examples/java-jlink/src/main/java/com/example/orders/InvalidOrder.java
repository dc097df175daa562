package com.example.orders;

/** The caller's mistake. Its message says which line of the order is wrong, and in what. */
public final class InvalidOrder extends RuntimeException {

    private static final long serialVersionUID = 1;

    public InvalidOrder(String message) {
        super(message);
    }

    public InvalidOrder(String message, Throwable cause) {
        super(message, cause);
    }
}
