package com.example.naive;

import com.example.lambda.HandlerLoop;

/** The naive runtime with a handler that returns the event, so that the runtime alone is measured. */
public final class Echo extends Runtime {

    public static void main(String[] arguments) throws Exception {
        new Echo().serve();
    }

    @Override
    HandlerLoop.Handler newHandler() {
        return new Handler();
    }

    private static final class Handler implements HandlerLoop.Handler {

        @Override
        public String handle(String event, HandlerLoop.Context context) {
            return event;
        }
    }
}
