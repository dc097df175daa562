import com.example.lambda.HandlerLoop;
import com.example.lambda.Json;
import com.example.orders.InvalidOrder;
import com.example.orders.PriceOrder;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Checks the classes, and the executable that the argument names. Ends with status 1 where one fails. */
public final class Checks {

    private interface Check {
        void run() throws Exception;
    }

    private static int failed;

    public static void main(String[] arguments) {
        check("JSON comes back as it was", Checks::jsonRoundTrips);
        check("what is not JSON is refused", Checks::jsonRefuses);
        check("an order is priced", Checks::orderIsPriced);
        check("a wrong order is refused, with the place", Checks::wrongOrderIsRefused);
        check("the event reaches the handler as it was sent", Checks::eventIsUntouched);
        check("the context reaches the handler", Checks::contextIsRead);
        check("messages without an event get no reply", Checks::otherMessagesAreIgnored);
        check("what is thrown becomes an error reply", Checks::throwablesBecomeErrors);
        check("after an OutOfMemoryError the loop replies and ends", Checks::outOfMemoryEndsTheLoop);
        check("a large event passes", Checks::largeEventPasses);
        check("a line is read in whatever pieces it comes", Checks::piecesAreJoined);
        for (String executable : arguments) {
            check("the executable replies on stdout, and logs to stderr", () -> executableOnStdout(executable));
            check("the executable replies on fd 3, and logs to stdout", () -> executableOnDescriptor3(executable));
            check("a stale BOOTSTRAP_REPLY_FD harms nothing", () -> executableWithStaleVariable(executable));
            check("a stack trace has the handler's line numbers", () -> executableWithLineNumbers(executable));
        }
        if (failed > 0) {
            System.out.println(failed + " failed");
            System.exit(1);
        }
    }

    private static void check(String name, Check check) {
        try {
            check.run();
            System.out.println("ok      " + name);
        } catch (Throwable failure) {
            failed++;
            System.out.println("FAILED  " + name);
            failure.printStackTrace(System.out);
        }
    }

    private static void equal(Object expected, Object actual) {
        if (!expected.equals(actual)) {
            throw new AssertionError("expected " + expected + "\n     got " + actual);
        }
    }

    private static void contains(String part, String whole) {
        if (!whole.contains(part)) {
            throw new AssertionError("expected " + part + "\n      in " + whole);
        }
    }

    private static <T extends Throwable> T thrownBy(Class<T> type, Check check) {
        try {
            check.run();
        } catch (Throwable thrown) {
            return type.cast(thrown);
        }
        throw new AssertionError("expected a " + type.getName());
    }

    // --- JSON

    private static void jsonRoundTrips() {
        for (String json : List.of(
                "null", "true", "false", "0", "-0", "1.10", "12345678901234567890123", "1E+3", "\"\"", "[]", "{}",
                "\"a\\\"b\\\\c/é\u2028\uD83D\uDE00\"", "\"\\ud800\"", "\"\\udc00\\ud800x\"", "\"\\u0000\\u001f\"",
                "{\"b\":[1,[2,{}]],\"a\":null}", "[".repeat(512) + "]".repeat(512))) {
            equal(json.equals("-0") ? "0" : json, Json.write(Json.read(json)));
        }
        equal("a/b\b\f\n\r\té\uD83D\uDE00", Json.read(" \"a\\/b\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\"\t\r\n"));
        equal(new BigDecimal("1e-999999999"), Json.read("1e-999999999"));
        equal(Map.of("a", new BigDecimal(2)), Json.read("{\"a\":1,\"a\":2}"));
    }

    private static void jsonRefuses() {
        for (String json : List.of(
                "", " ", "[1,]", "{\"a\":1,}", "{a:1}", "{\"a\"}", "[1 2]", "01", "1.", ".5", "-", "+1", "1e", "1e+", "NaN",
                "nul", "truely", "\"", "\"\\", "\"\\x\"",
                "\"\\u12g4\"", "\"\\u\u0661234\"", "\"a\nb\"", "1 2", "[", "]", "{\"a\":",
                "\uFEFF1", "\uffff", "1\uffff", "'a'", "[".repeat(513) + "]".repeat(513), "[".repeat(1_000_000),
                "9".repeat(1001), "1e99999999999")) {
            thrownBy(IllegalArgumentException.class, () -> Json.read(json));
        }
        equal("not JSON at character 4: a value was expected",
                thrownBy(IllegalArgumentException.class, () -> Json.read("[1,]")).getMessage());
    }

    // --- Orders

    private static final HandlerLoop.Context CONTEXT =
            new HandlerLoop.Context("1", 0, null, null, null, null, null, null, null, null, null, null, null);

    private static String price(String order) {
        return new PriceOrder().handle(order, CONTEXT);
    }

    private static void orderIsPriced() {
        equal("{\"customer\":\"Zoë\",\"lines\":[{\"sku\":\"tea\",\"quantity\":12,\"amount\":42.00},"
                + "{\"sku\":\"pot\",\"quantity\":50,\"amount\":1245.00}],"
                + "\"subtotal\":1287.00,\"discount\":88.80,\"tax\":227.66,\"total\":1425.86}",
                price("{\"customer\":\"Zoë\",\"taxRate\":0.19,\"lines\":["
                        + "{\"sku\":\"tea\",\"quantity\":1.2e1,\"unitPrice\":3.50},"
                        + "{\"sku\":\"pot\",\"quantity\":50,\"unitPrice\":24.9}]}"));
        contains("\"total\":0.00", price("{\"lines\":[{\"sku\":\"gift\",\"quantity\":1,\"unitPrice\":0e-999999999}]}"));
    }

    private static void wrongOrderIsRefused() {
        String good = "{\"sku\":\"tea\",\"quantity\":1,\"unitPrice\":1}";
        Map<String, String> messages = Map.of(
                "{}", "lines must be a list of at least one line, not null",
                "[1,]", "the order can't be read: not JSON at character 4: a value was expected",
                "null", "the order must be an object, not null",
                "{\"lines\":[" + good + ",7]}", "line 2 must be an object, not 7",
                "{\"lines\":[" + good + ",{\"sku\":\" \"}]}", "line 2: sku must be a text, not \" \"",
                "{\"lines\":[{\"sku\":\"tea\",\"quantity\":1.5}]}",
                "line 1: quantity must be a whole number, 1 to 10000, not 1.5",
                "{\"lines\":[{\"sku\":\"tea\",\"quantity\":1,\"unitPrice\":1e999999999}]}",
                "line 1: unitPrice must be a number with at most 2 decimals, 0 to 1000000, not 1E+999999999");
        messages.forEach((order, message) ->
                equal(message, thrownBy(InvalidOrder.class, () -> price(order)).getMessage()));
    }

    // --- The loop

    private static final HandlerLoop.Handler ECHO = new HandlerLoop.Handler() {
        @Override
        public String handle(String event, HandlerLoop.Context context) {
            return event;
        }

        @Override
        public String handleBytes(byte[] event, HandlerLoop.Context context) {
            return "\"bytes: " + event.length + "\"";
        }
    };

    private static List<String> replies(HandlerLoop.Handler handler, String messages) throws Exception {
        ByteArrayOutputStream replies = new ByteArrayOutputStream();
        HandlerLoop.loop(new ByteArrayInputStream(messages.getBytes(StandardCharsets.UTF_8)), replies, handler);
        return lines(replies.toString(StandardCharsets.UTF_8));
    }

    private static List<String> lines(String text) {
        List<String> lines = new ArrayList<>(text.lines().toList());
        lines.removeIf(String::isEmpty);
        return lines;
    }

    private static String message(String id, String event) {
        return "{\"id\":\"" + id + "\",\"context\":{},\"event\":" + event + "}\n";
    }

    private static void eventIsUntouched() throws Exception {
        for (String event : List.of(
                "null", "0", "\"\"", "12345678901234567890", "1.10", "{\"b\":1,\"a\":2,\"b\":3}", "\"\\ud800\\u0000\"",
                "{ \"a\" : [ 1 ,\t2 ] }", "\"}]\\\"{[\\\\\"", "{\"event\":{\"id\":\"other\"}}", "\"\uD83D\uDE00 é \u2028\"",
                "[".repeat(100_000) + "]".repeat(100_000))) {
            // The space in front is bootstrap's probe; a member that is not known may come, and so may an early end.
            equal(List.of("{\"id\":\"1\",\"response\":" + event + "}"), replies(ECHO, " " + message("1", event)));
            equal(List.of("{\"id\":\"1\",\"response\":" + event + "}"),
                    replies(ECHO, "{\"id\":\"1\",\"new\":[{}],\"context\":{},\"event\":" + event + ",\"newer\":\"}\"}"));
        }
        equal(List.of("{\"id\":\"1\",\"response\":\"bytes: 2\"}"),
                replies(ECHO, "{\"id\":\"1\",\"context\":{},\"eventBase64\":\"//4=\"}\r\n"));
        equal(List.of("{\"id\":\"1\",\"response\":[1,  2]}", "{\"id\":\"2\",\"response\":[1,  2]}"),
                replies((event, context) -> "[1,\r\n2]", message("1", "0") + message("2", "0")));
        equal(List.of("{\"id\":\"1\",\"response\":null}"), replies((event, context) -> null, message("1", "0")));
    }

    private static void contextIsRead() throws Exception {
        List<HandlerLoop.Context> contexts = new ArrayList<>();
        List<String> properties = new ArrayList<>();
        replies((event, context) -> {
            contexts.add(context);
            properties.add(System.getProperty("com.amazonaws.xray.traceHeader"));
            return "null";
        }, "{\"id\":\"1\",\"context\":{\"deadlineMs\":1700000000000,\"traceId\":\"Root=1\",\"later\":[{\"a\":\"]\"}],"
                + "\"clientContext\":{\"custom\":{},\"event\":\"}\"},\"identity\":\"not \\\"JSON\","
                + "\"functionName\":\"a\\\"\\u00e9\\n\"},"
                + "\"event\":1}\n" + message("2", "2"));
        equal(new HandlerLoop.Context("1", 1700000000000L, null, "Root=1", null, null, "{\"custom\":{},\"event\":\"}\"}",
                "\"not \\\"JSON\"", "a\"é\n", null, null, null, null), contexts.get(0));
        equal(0L, contexts.get(0).remainingMs());
        equal(new HandlerLoop.Context("2", 0, null, null, null, null, null, null, null, null, null, null, null),
                contexts.get(1));
        equal(Long.MAX_VALUE, contexts.get(1).remainingMs());
        equal("[Root=1, null]", properties.toString());
    }

    private static void otherMessagesAreIgnored() throws Exception {
        equal(List.of("{\"id\":\"2\",\"response\":2}"), replies(ECHO,
                "\n \r\n{}\n{\"cancel\":\"1\",\"reason\":\"deadline\"}\n{\"id\":\"1\",\"context\":{}}\n"
                        + message("2", "2")));
    }

    private static void throwablesBecomeErrors() throws Exception {
        HandlerLoop.Handler handler = (event, context) -> switch (event) {
            case "1" -> throw new InvalidOrder("a \"quoted\"\n\uD800 message", new java.io.IOException("the cause"));
            case "2" -> throw new IllegalStateException();
            case "3" -> throw new StackOverflowError();
            case "4" -> throw new AssertionError("four");
            case "5" -> {
                Thread.currentThread().interrupt();
                throw new IllegalStateException("five");
            }
            default -> Boolean.toString(Thread.interrupted());
        };
        StringBuilder messages = new StringBuilder();
        for (int i = 1; i <= 6; i++) {
            messages.append(message("" + i, "" + i));
        }
        messages.append("{\"id\":\"7\",\"context\":{},\"eventBase64\":\"AA==\"}");
        List<String> replies = replies(handler, messages.toString());
        equal(7, replies.size());
        contains("{\"id\":\"1\",\"error\":{\"errorType\":\"com.example.orders.InvalidOrder\","
                + "\"errorMessage\":\"a \\\"quoted\\\"\\u000a\\ud800 message\",\"stackTrace\":[\"Checks.", replies.get(0));
        contains(",\"Caused by: java.io.IOException: the cause\",\"Checks.", replies.get(0));
        contains("\"errorType\":\"java.lang.IllegalStateException\",\"errorMessage\":\"\"", replies.get(1));
        contains("\"errorType\":\"java.lang.StackOverflowError\"", replies.get(2));
        contains("\"errorMessage\":\"four\"", replies.get(3));
        equal("{\"id\":\"6\",\"response\":false}", replies.get(5));
        contains("\"errorMessage\":\"the event is not JSON\"", replies.get(6));
        for (String reply : replies) {
            Json.read(reply);
        }
    }

    private static void outOfMemoryEndsTheLoop() {
        ByteArrayOutputStream replies = new ByteArrayOutputStream();
        InputStream messages = new ByteArrayInputStream(
                (message("1", "1") + message("2", "2")).getBytes(StandardCharsets.UTF_8));
        thrownBy(OutOfMemoryError.class, () -> HandlerLoop.loop(messages, replies, (event, context) -> {
            throw new OutOfMemoryError("heap");
        }));
        List<String> lines = lines(replies.toString(StandardCharsets.UTF_8));
        equal(1, lines.size());
        contains("{\"id\":\"1\",\"error\":{\"errorType\":\"java.lang.OutOfMemoryError\"", lines.get(0));
    }

    private static void largeEventPasses() throws Exception {
        String large = "\"" + "é\\\\".repeat(2_000_000) + "\"";
        equal(List.of("{\"id\":\"1\",\"response\":" + large + "}", "{\"id\":\"2\",\"response\":2}",
                "{\"id\":\"3\",\"response\":" + large + "}"),
                replies(ECHO, message("1", large) + message("2", "2") + message("3", large)));
    }

    /** What is not ASCII may stand in any piece of a line, and makes no difference to the next line. */
    private static void piecesAreJoined() throws Exception {
        String ascii = "x".repeat(20_000);
        List<String> events = List.of("\"é" + ascii + "\"", "\"" + ascii + "\"", "\"" + ascii + "é\"", "[\"\u007f\"]", "[\"€\"]");
        StringBuilder messages = new StringBuilder();
        List<String> expected = new ArrayList<>();
        for (String event : events) {
            messages.append(message("\\u0031", event));
            expected.add("{\"id\":\"\\u0031\",\"response\":" + event + "}");
        }
        equal(expected, replies(ECHO, messages.toString()));
        for (int size : List.of(1, 2, 7, 8191, 8192, 8193)) {
            ByteArrayOutputStream replies = new ByteArrayOutputStream();
            InputStream pieces = new ByteArrayInputStream(messages.toString().getBytes(StandardCharsets.UTF_8)) {
                @Override
                public int read(byte[] buffer, int from, int most) {
                    return super.read(buffer, from, Math.min(most, size));
                }
            };
            HandlerLoop.loop(pieces, replies, ECHO);
            equal(expected, lines(replies.toString(StandardCharsets.UTF_8)));
        }
    }

    // --- The executable

    private static final String ORDER = "{\"lines\":[{\"sku\":\"tea\",\"quantity\":1,\"unitPrice\":1}]}";
    private static final String LOG = "priced an order for \"Zoë\"";

    private record Run(int status, String stdout, String stderr) {
    }

    /** Runs a shell command with bootstrap's side of the pipes, in a locale that knows ASCII alone. */
    private static Run run(String command, String replyDescriptor, String messages) throws Exception {
        ProcessBuilder builder = new ProcessBuilder("sh", "-c", command);
        builder.environment().put("LC_ALL", "C");
        builder.environment().remove("BOOTSTRAP_REPLY_FD");
        if (replyDescriptor != null) {
            builder.environment().put("BOOTSTRAP_REPLY_FD", replyDescriptor);
        }
        java.io.File stderr = java.io.File.createTempFile("checks", ".stderr");
        try {
            Process process = builder.redirectError(stderr).start();
            try (OutputStream stdin = process.getOutputStream()) {
                stdin.write(messages.getBytes(StandardCharsets.UTF_8));
            }
            String stdout = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            if (!process.waitFor(10, TimeUnit.SECONDS)) {
                process.destroyForcibly();
                throw new AssertionError("it did not end with its stdin");
            }
            return new Run(process.exitValue(), stdout,
                    java.nio.file.Files.readString(stderr.toPath(), StandardCharsets.UTF_8));
        } finally {
            stderr.delete();
        }
    }

    private static void executableOnStdout(String executable) throws Exception {
        Run run = run("exec " + executable, null, message("1", order("Zoë")) + message("2", "[]"));
        equal(0, run.status());
        List<String> replies = lines(run.stdout());
        equal(2, replies.size());
        contains("{\"id\":\"1\",\"response\":{\"customer\":\"Zoë\"", replies.get(0));
        contains("{\"id\":\"2\",\"error\":{\"errorType\":\"com.example.orders.InvalidOrder\"", replies.get(1));
        contains(LOG, run.stderr());
    }

    private static void executableOnDescriptor3(String executable) throws Exception {
        // What comes on fd 3 is marked with ">" and put on stdout.
        Run run = run("{ " + executable + " 3>&1 >&4 4>&- | sed 's/^/>/'; } 4>&1", "3", message("1", order("Zoë")));
        contains(">{\"id\":\"1\",\"response\":{\"customer\":\"Zoë\"", run.stdout());
        contains(LOG, run.stdout().replace(">" + LOG, ""));
        equal("", run.stderr());
    }

    private static void executableWithStaleVariable(String executable) throws Exception {
        for (String descriptor : List.of("3", "9", "none")) {
            Run run = run("exec 3>&-; exec " + executable, descriptor, message("1", order("Zoë")));
            contains("{\"id\":\"1\",\"response\":", run.stdout());
        }
    }

    private static void executableWithLineNumbers(String executable) throws Exception {
        Run run = run("exec " + executable, null, message("1", "[]") + "{\"id\":\"2\",\"eventBase64\":\"!\"}");
        List<String> replies = lines(run.stdout());
        matches(".*\"stackTrace\":\\[\"com\\.example\\.orders/com\\.example\\.orders\\.PriceOrder\\.price\\(PriceOrder\\.java:\\d+\\)\".*",
                replies.get(0));
        // Those of the JDK are what makes the image small.
        matches(".*\"stackTrace\":\\[\"java\\.base/java\\.util\\.Base64\\$Decoder\\.\\w+\\(Unknown Source\\)\".*", replies.get(1));
    }

    private static void matches(String expression, String text) {
        if (!text.matches(expression)) {
            throw new AssertionError("expected " + expression + "\n     got " + text);
        }
    }

    private static String order(String customer) {
        return ORDER.replaceFirst("\\{", "{\"customer\":\"" + customer + "\",");
    }
}
