FROM base
RUN mkdir -p /d/e && touch /d/e/f && mv /home/user /home/moved
RUN mv /d /dd && mv /dd/e/f /dd/g && mv /etc/group /etc/group.old
RUN mv /home /house
