# The Java example as a container image for Lambda: docker build --tag orders .
#
# Every stage has the architecture that is built for, and so has what it builds. All three images are arguments:
#   RUST_IMAGE  Rust from rustup, on a system with make, a C compiler and Python 3, on which the JDK runs
#   JDK_IMAGE   a JDK, 17 or later, with its jmods, in JAVA_HOME
#   BASE_IMAGE  any with sh on which the JDK would run: with glibc, and with libstdc++ and zlib where that is linked with them
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
ARG JDK_IMAGE=public.ecr.aws/amazoncorretto/amazoncorretto:17-al2023
ARG BASE_IMAGE=public.ecr.aws/lambda/provided:al2023

FROM ${RUST_IMAGE} AS bootstrap
WORKDIR /bootstrap
COPY Cargo.toml Cargo.lock ./
COPY .ci/dist .ci/no-unwinding.ld .ci/
# The dependencies are built first, with an empty program, and again only when Cargo.toml or Cargo.lock changes.
RUN mkdir src tests && touch src/lib.rs tests/it.rs tests/peers.rs && echo 'fn main() {}' >src/main.rs && .ci/dist "$(uname -m)"
COPY src src
# cargo goes by the time of a file, and the empty program is younger than the sources.
RUN touch src/lib.rs src/main.rs && .ci/dist "$(uname -m)" && mv "target/dist/bootstrap-$(uname -m)" /var/bootstrap

FROM ${JDK_IMAGE} AS jdk
# Where the next stage finds it, whatever JAVA_HOME is, with the files that its links lead to.
RUN cp -aL "$JAVA_HOME" /jdk

FROM ${RUST_IMAGE} AS orders
COPY --from=jdk /jdk /jdk
WORKDIR /orders
COPY examples/java-jlink ./
RUN make JAVA_HOME=/jdk

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
LABEL org.opencontainers.image.title="orders" \
      org.opencontainers.image.description="A Java function that prices orders, run by bootstrap" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
WORKDIR /var/task
COPY --from=bootstrap /var/bootstrap /var/runtime/bootstrap
COPY --from=orders /orders/dist dist
ENV LAMBDA_TASK_ROOT=/var/task
# The handler. It is not CMD, since that says what the image does outside of Lambda.
ENV BOOTSTRAP_COMMAND=dist/bin/executable
EXPOSE 8080
# In Lambda, bootstrap is the runtime whatever its arguments are. Elsewhere it is Lambda's Invoke API, at the port of AWS's images.
ENTRYPOINT ["/var/runtime/bootstrap"]
CMD ["serve", "--listen", "0.0.0.0:8080"]
