package com.example.naive;

import com.example.lambda.HandlerLoop;
import com.example.orders.PriceOrder;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;

/**
 * A runtime as one writes it from Lambda's documentation in an hour: get an event, handle it, post what came out of it. It
 * is here to be measured, with all that it leaves out: no context, no deadline, no trace, no error document, no check of
 * what the Runtime API answers.
 */
public class Runtime {

    private static final String API = "http://" + System.getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/";

    private final HttpClient http = HttpClient.newHttpClient();

    public static void main(String[] arguments) throws Exception {
        new Runtime().serve();
    }

    /** Called for each event, as in the article. */
    HandlerLoop.Handler newHandler() {
        return new PriceOrder();
    }

    final void serve() throws Exception {
        while (true) {
            serveOne();
        }
    }

    private void serveOne() throws IOException, InterruptedException {
        HttpResponse<String> event = send(HttpRequest.newBuilder(URI.create(API + "next")).GET());
        String id = event.headers().firstValue("Lambda-Runtime-Aws-Request-Id").orElseThrow();
        String response;
        try {
            response = newHandler().handle(event.body(), unknown(id));
        } catch (Exception failure) {
            failure.printStackTrace();
            post(id + "/error", "Failed to invoke function");
            return;
        }
        post(id + "/response", response);
    }

    private void post(String path, String body) throws IOException, InterruptedException {
        send(HttpRequest.newBuilder(URI.create(API + path)).POST(BodyPublishers.ofString(body)));
    }

    private HttpResponse<String> send(HttpRequest.Builder request) throws IOException, InterruptedException {
        return http.send(request.build(), BodyHandlers.ofString());
    }

    /** The handler wants a context; this runtime knows nothing but the id. */
    private static HandlerLoop.Context unknown(String id) {
        return new HandlerLoop.Context(id, 0, null, null, null, null, null, null, null, null, null, null, null);
    }
}
