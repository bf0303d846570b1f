# shellcheck shell=bash
# What every broker script here shares: verbs, options, locks, and processes that are ours for certain.
#
# A broker script sets `kind`, `default_port`, `port_step` (how many neighbouring ports one broker takes) and
# `start_timeout` (seconds), defines the functions below, sources this file, and ends with `broker_main "$@"`.
#
#   broker_fetch     brings the software into "$home"; does nothing when it is there (`fetch_by_maven` does it for Java)
#   broker_prepare   writes the configuration of the broker into "$dir" for "$port", the lines of "$dir/settings" last;
#                    formats an empty data folder
#   broker_command   sets the array `command` to what starts the broker in the foreground
#   broker_answers   succeeds when the broker at "$port" serves its clients
#   broker_tool ...  runs one of the broker's own tools against "$port"
#
# Everything that is fetched or written lives in var/<kind>: the software, and brokers/<name> for each broker.

# shellcheck disable=SC2154 # these are set by the script that sources this one
: "$kind" "$default_port" "$port_step" "$start_timeout"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { echo "$kind: $*" >&2; }
die() { say "$@"; exit 1; }

broker_usage() {
  cat <<EOF
usage: ${0##*/} VERB [--name NAME] [--port PORT] [--disk SIZE] [--set KEY=VALUE]...

  fetch    bring the software to var/$kind and stop there
  up       start the broker, or use the one that runs; wait until it serves its clients; print what status prints
  claim    give the broker its port without starting it, and print PORT
  down     stop the broker if this checkout started it; its data stays
  status   print KIND, NAME, STATE (running, stopped, down, foreign), STARTED, PID, PORT, ADDRESS, DIR, LOG, DISK as KEY=VALUE;
           exit 0 only when the broker serves its clients
  wipe     down, then remove the broker's data; down and wipe take --all, for every broker of this checkout
  fill     leave no space on the disk that --disk has given the broker
  free     leave it as much as it had
  tool     run one of the broker's own tools: ${0##*/} tool [--name NAME] TOOL ARGUMENT...

The broker without a name is the shared one, at port $default_port unless ${kind^^}_PORT says otherwise. One with a name is
private: a test may kill -9 its PID, stop it (SIGSTOP), and bring it up again with the same data. Without --port
it gets a free one and keeps it. --disk gives its data a file system of this size, in memory, where this user may mount
one; DISK says whether it has. --set adds a line to the broker's configuration whenever it starts; the lines given
last replace those given before.
EOF
}

broker_main() {
  local verb=${1:-}
  [ $# -eq 0 ] || shift
  name=shared port='' disk='' settings=() all=no
  while [ $# -gt 0 ]; do
    case $1 in
      --name) name=${2:?--name needs a value}; shift 2 ;;
      --port) port=${2:?--port needs a value}; shift 2 ;;
      --disk) disk=${2:?--disk needs a size}; shift 2 ;;
      --all) all=yes; shift ;;
      --set) settings+=("${2:?--set needs KEY=VALUE}"); shift 2 ;;
      *) break ;;
    esac
  done
  [[ $name =~ ^[a-z0-9][a-z0-9._-]*$ ]] || die "a broker's name is made of a-z, 0-9, dot, dash and underscore, not '$name'"
  [[ -z $port || $port =~ ^[1-9][0-9]{0,4}$ ]] || die "'$port' is no port"
  [ "$verb" = tool ] || [ $# -eq 0 ] || { broker_usage >&2; exit 64; }

  home=$root/var/$kind
  if [ "$all" = yes ]; then
    [[ $verb =~ ^(down|wipe)$ ]] || die "--all goes with down and wipe"
    for dir in "$home"/brokers/*/; do
      [ ! -d "$dir" ] || "$0" "$verb" --name "$(basename "$dir")"
    done
    return
  fi
  dir=$home/brokers/$name
  log=$dir/broker.log
  started=no
  lowest=$((default_port + 100)) # of the ports for private brokers
  mkdir -p "$home/brokers"
  [ -n "$port" ] || port=$(known_port)

  case $verb in
    fetch) locked "$home/fetch.lock" broker_fetch ;;
    # It has just served a client: that one more has to wait, on a busy machine, is no failure.
    up) locked "$home/fetch.lock" broker_fetch; locked "$dir.lock" up; status || true ;;
    claim) [ -s "$dir/port" ] || locked "$home/ports.lock" claim_port; echo "PORT=$port" ;;
    down) locked "$dir.lock" down ;;
    status) status ;;
    wipe) locked "$dir.lock" wipe ;;
    fill) fill_disk ;;
    free) size_disk "$(cat "$dir/disk")" ;;
    tool) [ -n "$port" ] || die "broker '$name' was never up; run: ${0##*/} up --name $name"; broker_tool "$@" ;;
    help | -h | --help) broker_usage ;;
    *) broker_usage >&2; exit 64 ;;
  esac
}

# For a broker of Java: brings what "$files/pom.xml" lists into "$home/libs", unless exactly that is there. $1 says how much it is.
fetch_by_maven() {
  if cmp -s "$files/pom.xml" "$home/libs/pom.xml"; then
    return
  fi
  "$root/tests/need.sh" mvn=maven
  say "fetching it into $home/libs ($1, once)"
  rm -rf "$home/libs"
  if ! mvn -B -q -f "$files/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$home/libs" >"$home/fetch.log" 2>&1; then
    tail -n 20 "$home/fetch.log" >&2
    die "could not fetch it; run again, or see why: mvn -f $files/pom.xml dependency:copy-dependencies"
  fi
  # Last, so that a fetch cut short is seen as such.
  cp "$files/pom.xml" "$home/libs/pom.xml"
}

up() {
  local deadline=$((SECONDS + start_timeout))
  ! alive || [ "$port" = "$(cat "$dir/port")" ] ||
    die "broker '$name' runs at port $(cat "$dir/port"), not $port; run: ${0##*/} down --name $name"
  # One that was killed a moment ago looks alive until the last of its threads is gone; then it is started.
  while alive; do
    kill -CONT "$pid" 2>/dev/null || true
    ! broker_answers || return 0
    in_time
    sleep 0.1
  done
  if [ "$name" = shared ] && broker_answers; then
    say "using what answers at port $port; it is not this checkout's and may be set up differently"
    return
  fi
  local given=$port beaten
  while :; do
    locked "$home/ports.lock" claim_port
    start
    wait_until_listening
    [ "$beaten" = yes ] || break
    [ -z "$given" ] || { down; die_of_taken "$(first_taken "$port" || echo "$port")"; }
    say "another process came to port $port first; taking another one"
    lowest=$((port + port_step))
    wipe # nothing is in it yet
    port=''
  done
  wait_until_served
}

start() {
  local command=()
  [ "${#settings[@]}" -eq 0 ] || printf '%s\n' "${settings[@]}" > "$dir/settings"
  touch "$dir/settings"
  mount_disk
  broker_prepare
  broker_command
  # A session of its own, so that the terminal's Ctrl-C stops the test run and not the broker under it; no inherited
  # descriptors, so that the broker holds neither our locks nor the caller's pipes.
  (
    for descriptor in /proc/self/fd/*; do
      descriptor=${descriptor##*/}
      [ "$descriptor" -le 2 ] || [ "$descriptor" -eq 255 ] || exec {descriptor}>&-
    done
    exec setsid "${command[@]}" </dev/null >"$log" 2>&1
  ) &
  pid=$!
  echo "$pid $(birth "$pid")" > "$dir/pid"
  started=yes
}

# Sets `beaten` to whether somebody else has come to a port of the broker between our look at it and its start: another
# checkout knows nothing of our lock, and what listens there may well answer like ours.
wait_until_listening() {
  local deadline=$((SECONDS + start_timeout))
  beaten=no
  until listens; do
    if alive; then
      # Looked once more: it may be ours that has just begun to listen.
      [ -z "$(sockets_at "$port")" ] || listens || beaten=yes
    else
      wait # until nothing is left of it that could hold a port
      ! first_taken "$port" >/dev/null || beaten=yes
    fi
    [ "$beaten" = no ] || return 0
    still_starting
    sleep 0.1
  done
}

wait_until_served() {
  local deadline=$((SECONDS + start_timeout))
  until broker_answers; do
    still_starting
    sleep 0.1
  done
}

still_starting() {
  if ! alive; then
    tail -n 20 "$log" >&2
    die "broker '$name' ended while starting; its log is $log; if its data is damaged run: ${0##*/} wipe --name $name"
  fi
  in_time
}

in_time() {
  [ "$SECONDS" -lt "$deadline" ] ||
    die "broker '$name' (pid $pid) does not serve port $port after $start_timeout s; read $log, then run: ${0##*/} down --name $name"
}

# Whether the broker itself listens at its port.
listens() {
  local sockets descriptors
  sockets=$(sockets_at "$port")
  # Some are closed while they are looked at.
  descriptors=$(readlink "/proc/$pid/fd/"* 2>/dev/null) || true
  [ -n "$sockets" ] && grep -qxF "$sockets" <<< "$descriptors"
}

# The sockets that listen at this port, as the descriptors of their processes are named.
sockets_at() {
  local hexadecimal
  printf -v hexadecimal ':%04X' "$1"
  awk -v port="$hexadecimal" '$4 == "0A" && substr($2, length($2) - 4) == port { print "socket:[" $10 "]" }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null || true
}

down() {
  if alive; then
    # It may end by itself in this very moment. A stopped process sees its SIGTERM only once it goes on.
    kill -TERM "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true
    local deadline=$((SECONDS + 30))
    while alive; do
      if [ "$SECONDS" -ge "$deadline" ]; then
        say "broker '$name' (pid $pid) did not end within 30 s; killing it"
        kill -KILL "$pid" 2>/dev/null || true
        deadline=$((SECONDS + 30))
      fi
      sleep 0.1
    done
  fi
  rm -f "$dir/pid"
}

wipe() {
  down
  # Lazily: what has just ended may not be gone yet.
  ! has_disk || umount --lazy "$dir/data"
  rm -rf "$dir"
}

mount_disk() {
  [ -n "$disk" ] && ! has_disk || return 0
  mkdir -p "$dir/data"
  if mount -t tmpfs -o "size=$disk" "tributary-$name" "$dir/data" 2>/dev/null; then
    echo "$disk" > "$dir/disk"
  else
    say "broker '$name' gets no disk of its own: this user may not mount one"
  fi
}

has_disk() { mountpoint -q "$dir/data"; }

# No file takes the space: the file system is made as small as what is in it, which may have grown until it is.
fill_disk() {
  local deadline=$((SECONDS + 10)) used
  until
    used=$(df --block-size=1 --output=used "$dir/data" | tail -n 1)
    size_disk "$((used > 0 ? used : 1))" 2>/dev/null # of no size it would have no end
  do
    [ "$SECONDS" -lt "$deadline" ] || die "the disk of broker '$name' cannot be filled"
  done
}

size_disk() { mount -o "remount,size=$1" "$dir/data"; }

status() {
  local state=down
  if alive; then
    state=running
    case $(process_state "$pid") in T | t) state=stopped ;; esac
  elif [ -n "$port" ] && broker_answers; then
    state=foreign
  fi
  cat <<EOF
KIND=$kind
NAME=$name
STATE=$state
STARTED=$started
PID=$pid
PORT=$port
ADDRESS=${port:+127.0.0.1:$port}
DIR=$dir
LOG=$log
DISK=$(! has_disk || cat "$dir/disk")
EOF
  case $state in
    running) broker_answers ;;
    foreign) [ "$name" = shared ] ;;
    *) return 1 ;;
  esac
}

# The port the broker had before or must have; nothing for a private one that never ran.
known_port() {
  local variable=${kind^^}_PORT
  if [ -s "$dir/port" ]; then
    cat "$dir/port"
  elif [ "$name" = shared ]; then
    echo "${!variable:-$default_port}"
  fi
}

# Under one lock for all brokers of this kind: of two that start together each gets ports of its own.
claim_port() {
  if [ -z "$port" ]; then
    local candidate=$lowest
    until free "$candidate"; do
      candidate=$((candidate + port_step))
      [ "$candidate" -lt $((default_port + 1000)) ] || die "no free port between $lowest and $candidate"
    done
    port=$candidate
  else
    # Of a broker that was killed a moment ago, threads may still hold the port when its process looks gone.
    local deadline=$((SECONDS + 5)) taken
    while taken=$(first_taken "$port"); do
      [ "$SECONDS" -lt "$deadline" ] || die_of_taken "$taken"
      sleep 0.1
    done
  fi
  mkdir -p "$dir"
  echo "$port" > "$dir/port"
}

die_of_taken() {
  die "port $1 is taken by another process (broker '$name' needs $port to $((port + port_step - 1))); end that process, or choose a port by --port or ${kind^^}_PORT"
}

# Free: nobody listens there, and no other broker of ours will come back to it.
free() {
  ! first_taken "$1" >/dev/null && ! grep -qsx "$1" "$home"/brokers/*/port
}

first_taken() {
  local candidate
  for ((candidate = $1; candidate < $1 + port_step; candidate++)); do
    if (: <>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}

# Sets `pid`, and succeeds when that process runs and is the one that was started here: a number alone may have been
# given to somebody else since, so the time the process began is compared too.
alive() {
  local birthday=''
  pid=''
  if [ -s "$dir/pid" ]; then
    read -r pid birthday < "$dir/pid"
  fi
  if [ -n "$pid" ] && [ "$(birth "$pid")" = "$birthday" ] && [ "$(process_state "$pid")" != Z ]; then
    return 0
  fi
  pid=''
  return 1
}

birth() { process_field "$1" 20; }
process_state() { process_field "$1" 1; }

# A field of /proc/PID/stat, counted after the command's name, which may itself contain blanks and parentheses.
process_field() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  read -r -a stat <<< "${stat##*) }"
  echo "${stat[$2 - 1]}"
}

# Runs a function of ours under a lock. Not in a subshell: what it learns is needed afterwards.
locked() {
  local file=$1 lock
  shift
  exec {lock}>"$file"
  flock -w 300 "$lock" || die "another run has held $file for 5 minutes; see what it does: fuser -v $file"
  "$@"
  exec {lock}>&-
}
