# The image of one connector: a static binary and the public certificate authorities. No shell, no libraries, no users.
#
# `make images` compiles the binary, lays the image's files out in target/images/<connector> and gives that folder's parent as
# the build context. Nothing is compiled or fetched in here, so this file serves every connector, architecture and builder.
FROM scratch
ARG connector
LABEL org.opencontainers.image.title="${connector}" \
      org.opencontainers.image.description="Calls OpenFaaS functions with events, and acknowledges an event only when they have answered well" \
      org.opencontainers.image.vendor="Tributary" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY ${connector}/ /
# A number, because there is no file of users to find a name in.
USER 65532:65532
EXPOSE 8081
# A link to the connector's own binary: this form takes no variables, and a shell for the other one is not there.
ENTRYPOINT ["/usr/bin/connector"]
