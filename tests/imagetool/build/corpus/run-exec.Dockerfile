FROM base
RUN ["/bin/sh", "-c", "echo \"$PATH\" > /path"]
RUN ["touch", "/with space"]
