FROM base AS one
RUN mkdir -p /m/n && echo one > /m/n/f
FROM base
RUN --mount=type=bind,from=one,source=/m,target=/mm,rw echo w > /mm/n/f && cat /mm/n/f > /a
RUN --mount=type=bind,from=one,source=/m,target=/mm cat /mm/n/f > /b
RUN --mount=type=cache,target=/c,from=one,source=/m ls /c/n > /c1 && cat /c/n/f > /c2
RUN --mount=type=cache,target=/c3,uid=1000,gid=50,mode=0700 ls -ld /c3 | head -c 10 > /c4
RUN --mount=type=tmpfs,target=/t --mount=type=bind,target=/ctx cp /ctx/hello /t/x && cat /t/x > /d
RUN --mount=type=secret,id=none cat /run/secrets/none 2>/dev/null || echo no > /e
RUN --mount=target=/ctx2 cat /ctx2/hello > /f
RUN --mount=dst=/ctx3,src=dir cat /ctx3/x > /g
