/** A runtime that speaks HTTP itself, so it needs the HTTP client's module. */
module com.example.naive {
    requires java.net.http;
}
