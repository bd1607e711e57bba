FROM base
RUN --mount=type=bind,target=/m touch /m/x 2>/dev/null || echo readonly > /a
RUN --mount=type=bind,target=/m,readwrite touch /m/x && echo rw > /b
RUN --mount=type=bind,target=/m ls /m/x 2>/dev/null || echo gone > /c
