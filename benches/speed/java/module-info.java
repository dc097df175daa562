/** The handler in Java: nothing but java.base. */
module bench.echo {}
