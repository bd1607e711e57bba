FROM scratch
COPY --from=base /etc/passwd /passwd
COPY --from=base /home /home
COPY --from=base /lib /lib
