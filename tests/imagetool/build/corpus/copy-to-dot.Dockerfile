FROM base
WORKDIR /w
COPY dir .
COPY hello ..
COPY other ./o/
COPY a.txt b.txt .
COPY *.md .
