# SPDX-License-Identifier: Apache-2.0

# The one image of Weir: /manager is the operator, /engine runs jobs that are dataflows, /weir is the command line tool.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS
ARG TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY api ./api
COPY cmd ./cmd
COPY config ./config
COPY controllers ./controllers
COPY runtime ./runtime
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w" -o /out/ ./cmd/manager ./cmd/engine ./cmd/weir

FROM gcr.io/distroless/static:nonroot
COPY --from=build /out/manager /out/engine /out/weir /
USER 65532:65532
ENTRYPOINT ["/manager"]
