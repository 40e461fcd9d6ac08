# Two stages: the image that runs has the binary, the certificates, and nothing to build with.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* && useradd --system --uid 10001 --home-dir /var/lib/starter --create-home starter
COPY --from=build /src/target/release/starter /usr/local/bin/starter
USER 10001
WORKDIR /var/lib/starter
ENV STARTER__SERVER__HOST=0.0.0.0
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s CMD ["starter", "health"]
ENTRYPOINT ["starter"]
CMD ["server"]
