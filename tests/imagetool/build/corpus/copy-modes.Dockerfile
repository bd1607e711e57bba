FROM base
COPY private /private
COPY modes /modes
COPY modes/setuid /
