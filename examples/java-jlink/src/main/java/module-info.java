/** Needs only java.base: bootstrap speaks HTTP, so that the handler need not. */
module com.example.orders {
}
