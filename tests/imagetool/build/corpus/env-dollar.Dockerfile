FROM base
ENV A=$ B=$$ C=$1 D=a$ E="$" F=$@ G=${A}
