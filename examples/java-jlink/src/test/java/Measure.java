import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Times handlers from launch to their first reply. Each argument is a name, a colon and a command. The commands take turns,
 * so that what else the machine does meets them alike.
 */
public final class Measure {

    private static final int ROUNDS = 41;

    private static final byte[] MESSAGE = ("{\"id\":\"1\",\"context\":{\"deadlineMs\":1700000000000},\"event\":"
            + "{\"lines\":[{\"sku\":\"tea\",\"quantity\":12,\"unitPrice\":3.50}]}}\n").getBytes(StandardCharsets.UTF_8);

    public static void main(String[] arguments) throws Exception {
        Map<String, List<Double>> times = new LinkedHashMap<>();
        for (int round = 0; round < ROUNDS; round++) {
            for (String argument : arguments) {
                String[] parts = argument.split(": ", 2);
                double time = launch(List.of(parts[1].trim().split("\\s+")));
                if (round > 0) { // the first one finds cold files
                    times.computeIfAbsent(parts[0], name -> new ArrayList<>()).add(time);
                }
            }
        }
        System.out.printf("ms from launch to the first reply, %d runs%n", ROUNDS - 1);
        System.out.printf("%-36s %8s %8s%n", "", "median", "least");
        times.forEach((name, list) -> {
            Collections.sort(list);
            System.out.printf("%-36s %8.1f %8.1f%n", name, list.get(list.size() / 2), list.get(0));
        });
    }

    private static double launch(List<String> command) throws IOException, InterruptedException {
        ProcessBuilder builder = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD);
        builder.environment().remove("BOOTSTRAP_REPLY_FD");
        long start = System.nanoTime();
        Process process = builder.start();
        try (OutputStream stdin = process.getOutputStream();
                BufferedReader stdout = new BufferedReader(
                        new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            stdin.write(MESSAGE);
            stdin.flush();
            String line;
            do {
                line = stdout.readLine();
            } while (line != null && !line.startsWith("{\"id\":\"1\",\"response\":"));
            double time = (System.nanoTime() - start) / 1e6;
            if (line == null) {
                throw new IOException("no reply from " + command);
            }
            return time;
        } finally {
            process.waitFor();
        }
    }
}
