#!/bin/sh
# Packaging an application: tags that move, a Dockerfile with every instruction, and publishing the image.
# shellcheck source=tests/walkthroughs/lib.sh
. "${0%/*}/lib.sh"

# --- from other registries, by tag and by digest
it pull "quay.io/pqsdev/mssql-tools:master"
digest=$(imagetool image ls --digests --format '{{.Digest}}' quay.io/pqsdev/mssql-tools)
shows 'Image is up to date|Downloaded' pull "quay.io/pqsdev/mssql-tools@$digest"

# --- a program is added to a base image, and then the application
mkdir app
printf '#!/bin/sh\necho application\n' >app/start
chmod 755 app/start
cat >Dockerfile <<'END'
# the image that is imported
FROM debian
# software that changes its files
RUN apt-get update
RUN apt-get -y install ssh vim

# the files of our application
COPY ./app /app
END
imagetool build -t demo . 2>&1 | tee output
for line in 'Step 1/4 : FROM debian' ' ---> [0-9a-f]{12}' 'Step 2/4 : RUN apt-get update' \
    ' ---> Running in [0-9a-f]{12}' 'Removing intermediate container [0-9a-f]{12}' \
    'Step 3/4 : RUN apt-get -y install ssh vim' 'Step 4/4 : COPY ./app /app' \
    'Successfully built [0-9a-f]{12}' 'Successfully tagged demo:latest'; do
    grep -Eqx -e "$line" output || fail "the build does not show: $line" "$(cat output)"
done
id=$(sed -n 's/^Successfully built //p' output)
shows "^demo +latest +$id" images
shows '^application$' run --rm --network none demo /app/start
shows '^ssh vim$' run --rm --network none demo cat /var/lib/installed

# --- tags
it tag "$id" demo:1.0
shows "^demo +1.0 +$id" images

# --- the other instructions
printf 'one' >one.txt
printf 'two' >two.txt
tar cf files.tar one.txt two.txt
cat >Dockerfile.all <<'END'
FROM debian AS parts
RUN echo made > /made
FROM debian
MAINTAINER somebody@example.com
ENV GREETING=hello
WORKDIR /srv/deep
COPY *.txt ./texts/
ADD files.tar unpacked
COPY --from=parts /made .
EXPOSE 80
VOLUME ["/data"]
ENTRYPOINT ["echo"]
CMD ["not this"]
CMD ["default"]
END
it build -q -t all -f Dockerfile.all .
shows '^default$' run --rm --network none all
shows '^given words$' run --rm --network none all given words
# shellcheck disable=SC2016 # the container's shell is to expand these
shows '^made onetwo onetwo$' run --rm --network none --entrypoint sh all -c \
    'echo $(cat made) $(cat texts/*.txt) $(cat unpacked/*.txt)'
# shellcheck disable=SC2016
shows '^hello$' run --rm --network none --entrypoint sh all -c 'echo $GREETING'
# shellcheck disable=SC2016
shows '^other$' run --rm --network none -e GREETING=other --entrypoint sh all -c 'echo $GREETING'
shows '"80/tcp"' image inspect all

# --- publishing: the same digest under two tags
it build -q -t "$PRIVATE/yuudj0/debian-ssh-vim" .
printf 'secret\n' | imagetool login -u me --password-stdin "$PRIVATE" | grep 'Login Succeeded'
shows "^The push refers to repository \[$PRIVATE/yuudj0/debian-ssh-vim\]$" push "$PRIVATE/yuudj0/debian-ssh-vim"
printf '%s\n' "$printed" | grep -q '^Using default tag: latest' || fail 'no default tag' "$printed"
first=$(printf '%s\n' "$printed" | sed -n 's/^latest: digest: //p')
it tag "$PRIVATE/yuudj0/debian-ssh-vim:latest" "$PRIVATE/yuudj0/debian-ssh-vim:v1.0"
shows '^[0-9a-f]{12}: Layer already exists$' push "$PRIVATE/yuudj0/debian-ssh-vim:v1.0"
[ "$(printf '%s\n' "$printed" | sed -n 's/^v1.0: digest: //p')" = "$first" ] || fail 'another digest' "$printed"
