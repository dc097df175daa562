package com.example.orders;

import com.example.lambda.HandlerLoop;

public final class Main {

    private Main() {
    }

    public static void main(String[] arguments) {
        HandlerLoop.run(new PriceOrder());
    }
}
