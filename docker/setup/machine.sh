# shellcheck shell=sh
# Whether the machine is fit: processor, memory, disk, clock, ports.

# A clock that is before the making of this file is wrong: routers without a battery begin in the
# past, and TLS, signatures and tokens fail then.
RELEASED=1795219200 # 2026-11-21
MEMORY_NEEDED_MB=100
MEMORY_FOR_CALLS_MB=100
MEMORY_FOR_DAEMON_MB=200
DISK_NEEDED_MB=600

# find_architecture: ARCHITECTURE as our images name it.
find_architecture() {
    machine=$(uname -m)
    case $machine in
    aarch64 | arm64) ARCHITECTURE=arm64 ;;
    armv7l | armv8l) ARCHITECTURE=armv7 ;;
    x86_64) ARCHITECTURE=amd64 ;;
    *) fail "$EXIT_MACHINE" "hearth does not run on this processor: $machine" \
        "it does on aarch64, armv7l and x86_64" ;;
    esac
}

memory_mb() {
    awk -v name="$1:" '$1 == name { print int($2 / 1024) }' "$ROOT/proc/meminfo"
}

# check_memory: MEMORY_MB, and whether that is enough for what is switched on.
check_memory() {
    MEMORY_MB=$(memory_mb MemTotal)
    swap_mb=$(memory_mb SwapTotal)
    needed=$MEMORY_NEEDED_MB
    is_on "$CALLS" && needed=$((needed + MEMORY_FOR_CALLS_MB))
    has_daemon && needed=$((needed + MEMORY_FOR_DAEMON_MB))
    if [ "$MEMORY_MB" -lt "$needed" ]; then
        fail "$EXIT_MACHINE" "$MEMORY_MB MB of memory are too little: $needed MB are needed" \
            "CALLS=no saves $MEMORY_FOR_CALLS_MB MB; RUNTIME=crun instead of a daemon $MEMORY_FOR_DAEMON_MB MB"
    fi
    say "memory: $MEMORY_MB MB and $swap_mb MB swap; $needed MB are needed"
    if [ "$MEMORY_MB" -lt $((needed + 60)) ] && [ "$swap_mb" -eq 0 ]; then
        warn "that leaves little; compressed swap helps (on OpenWRT: the package zram-swap)"
    fi
}

# nearest DIRECTORY: itself, or the nearest directory above it that exists.
nearest() {
    directory=$1
    while [ ! -d "$ROOT$directory" ] && [ "$directory" != / ]; do
        directory=$(dirname "$directory")
    done
    say "$directory"
}

# mount_of DIRECTORY: file system and options of what it lies on.
mount_of() {
    awk -v path="$1" '
        {
            point = $2
            prefix = point == "/" ? "/" : point "/"
            if (index(path "/", prefix) == 1 && length(point) >= longest) {
                longest = length(point)
                found = $3 " " $4
            }
        }
        END { print found }' "$ROOT/proc/mounts"
}

check_disk() {
    place=$(nearest "$DATA")
    mounted=$(mount_of "$place")
    check_file_system "${mounted% *}"
    case ",${mounted#* }," in
    *,ro,*) fail "$EXIT_MACHINE" "$place is mounted read-only" ;;
    *,noexec,*) fail "$EXIT_MACHINE" "$place is mounted noexec, so no program there can run" \
        "mount it without that option" ;;
    esac
    free_mb=$(df -k "$ROOT$place" | awk 'END { print int($(NF - 2) / 1024) }')
    if [ "$free_mb" -lt "$DISK_NEEDED_MB" ] && [ ! -e "$ROOT$STATE/complete" ]; then
        fail "$EXIT_MACHINE" "$free_mb MB are free at $place: $DISK_NEEDED_MB MB are needed to begin with" \
            "set DATA to a directory on a larger disk"
    fi
    say "disk: $free_mb MB are free at $place (${mounted% *})"
}

# check_file_system TYPE: databases wear flash out, and memory forgets.
check_file_system() {
    case $1 in
    tmpfs | ramfs) fail "$EXIT_MACHINE" "$DATA is in memory and would be lost with the power" \
        "set DATA to a directory on a disk" ;;
    jffs2 | ubifs | overlay | squashfs)
        ! platform_refuses_flash || fail "$EXIT_MACHINE" \
            "$DATA is on the router's own flash, which is small and wears out" \
            "attach a disk with ext4, mount it and set DATA to a directory there"
        ;;
    vfat | exfat | ntfs*) fail "$EXIT_MACHINE" "$DATA is on $1, which knows no owners of files" \
        "format the disk with ext4" ;;
    esac
}

check_clock() {
    now=$(date +%s)
    if [ "$now" -lt "$RELEASED" ] || [ "$now" -gt $((RELEASED + 631152000)) ]; then
        fail "$EXIT_MACHINE" "the clock is wrong: it says $(date)" "$(platform_clock_advice)"
    fi
}

# owner_of_port PORT[/udp]: empty if nobody listens there, else the program or "another program".
owner_of_port() {
    case $1 in
    */udp) kind=udp state=07 ;;
    *) kind=tcp state=0A ;;
    esac
    inode=$(cat "$ROOT/proc/net/$kind" "$ROOT/proc/net/${kind}6" 2>/dev/null |
        awk -v port="${1%/udp}" -v state="$state" '
        function number(hex,    i, sum) {
            for (i = 1; i <= length(hex); i++)
                sum = sum * 16 + index("0123456789ABCDEF", substr(hex, i, 1)) - 1
            return sum
        }
        $4 == state { split($2, local, ":"); if (number(local[2]) == port) { print $10; exit } }')
    [ -n "$inode" ] || return 0
    holder=$(for process in "$ROOT"/proc/[0-9]*; do
        # shellcheck disable=SC2010 # readlink would be a process for each file
        if ls -l "$process/fd" 2>/dev/null | grep -q "socket:\[$inode\]"; then
            cat "$process/comm"
            break
        fi
    done)
    say "${holder:-another program}"
}

# our_ports: one a line, with the setting's name. Of the many ports for relayed calls each call takes
# one that is free.
our_ports() {
    say "$HTTPS_PORT HTTPS_PORT"
    [ "$FEDERATION_PORT" = 0 ] || say "$FEDERATION_PORT FEDERATION_PORT"
    [ "$HTTP_PORT" = 0 ] || say "$HTTP_PORT HTTP_PORT"
    say "$HEARTH_PORT HEARTH_PORT"
    if is_on "$CALLS"; then
        say "$LIVEKIT_PORT LIVEKIT_PORT"
        say "$LIVEKIT_TCP_PORT LIVEKIT_TCP_PORT"
        say "$LIVEKIT_UDP_PORT/udp LIVEKIT_UDP_PORT"
        ! is_on "$TURN" || say "$TURN_PORT/udp TURN_PORT"
    fi
}

# check_ports: none is another program's. Those that we have listened on ourselves are noted.
check_ports() {
    our_ports >"$WORK/ports"
    while read -r port name; do
        ! is_noted "$port" || continue
        owner=$(owner_of_port "$port")
        [ -z "$owner" ] || fail "$EXIT_PORT" "port $port ($name) is taken by $owner" \
            "$(platform_port_advice "$port" "$owner")"
    done <"$WORK/ports"
}

# is_noted PORT: we have listened there. Where no UDP ports were noted, those of calls go with TCP's.
is_noted() {
    noted=$ROOT$STATE/ports
    [ -f "$noted" ] || return 1
    ! grep -qx "$1" "$noted" || return 0
    case $1 in
    */udp) ! grep -q /udp "$noted" && grep -qx "$LIVEKIT_TCP_PORT" "$noted" ;;
    *) return 1 ;;
    esac
}

note_ports() {
    [ "$DRY_RUN" = no ] || return 0
    our_ports | cut -d ' ' -f 1 >"$ROOT$STATE/ports.part"
    move_in "$STATE/ports"
}
