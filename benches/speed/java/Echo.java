package bench;

import com.example.lambda.HandlerLoop;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Arrays;

/** Echoes in each of bootstrap's modes; in jsonl with the loop of the example in examples/java-jlink. */
public final class Echo {

    public static void main(String[] arguments) throws IOException {
        String mode = arguments.length == 0 ? "jsonl" : arguments[0];
        if (mode.equals("jsonl")) {
            HandlerLoop.run((event, context) -> event);
            return;
        }
        InputStream input = new FileInputStream(FileDescriptor.in);
        OutputStream output = new FileOutputStream(FileDescriptor.out);
        if (mode.equals("oneshot")) {
            output.write(input.readAllBytes());
            return;
        }
        byte[] line = new byte[64 * 1024];
        int length = 0;
        for (int read; (read = input.read(line, length, line.length - length)) >= 0; ) {
            length += read;
            // One event is out at a time: what ends with a newline is a line.
            if (length > 0 && line[length - 1] == '\n') {
                output.write(line, 0, length);
                length = 0;
            } else if (length == line.length) {
                line = Arrays.copyOf(line, 2 * length);
            }
        }
    }

    private Echo() {}
}
