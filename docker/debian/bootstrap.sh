#!/bin/sh
# Sets hearth up on a small box with Debian, with its LiveKit, nginx and certificate.
# docs/debian.md goes through it.
# shellcheck disable=SC2034,SC2154 # files beside this one read and set these variables
set -eu

# What `su` leaves out.
[ -n "${HEARTH_SETUP_ROOT:-}" ] || PATH=$PATH:/usr/sbin:/sbin
HERE=$(cd "$(dirname "$0")" && pwd)
SETUP=$HERE/../setup
NGINX_TEMPLATE=$HERE/../nginx/nginx.conf.template
NGINX_WEBROOT=/var/lib/hearth-acme
NGINX_USER=www-data

# shellcheck source=docker/setup/parts.sh
. "$SETUP/parts.sh"

# -- settings and advice ----------------------------------------------------------------------

platform_settings() {
    say "UFW|switch|yes|Open the ports in ufw, where it is installed and active."
}

platform_refuses_flash() {
    return 1
}

platform_clock_advice() {
    say "have it set: timedatectl set-ntp true (needs the uplink), or date -s 'YYYY-MM-DD hh:mm:ss'"
}

platform_port_advice() {
    say "stop it (systemctl disable --now $2), or choose another port in the .env"
}

platform_log_advice() {
    say "its log: journalctl -u hearth"
}

# It is this machine that is asked: not by way of a proxy, and not for long.
platform_fetch() {
    wget -q --no-proxy -T 5 -t 1 -O /dev/null "$1" 2>/dev/null
}

# -- packages ---------------------------------------------------------------------------------

platform_packages() {
    say nginx-light
    say openssl
    say wget
    say "${RUNTIME_COMMAND:-$RUNTIME}"
    [ "$CERTIFICATE" != acme ] || say certbot
}

platform_has_package() {
    case $1 in
    nginx-light) has_command nginx ;;
    *) has_command "$1" ;;
    esac
}

platform_install() {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" ||
        return 1
    case " $* " in
    # Ours is an nginx of its own; the packaged one would take port 80.
    *' nginx-light '*) systemctl disable --now nginx ;;
    esac
}

platform_install_advice() {
    say "apt-get install ${1%-util}"
}

# -- systemd ----------------------------------------------------------------------------------

UNITS='hearth hearth-livekit hearth-nginx'

service_is_running() {
    systemctl is-active --quiet hearth
}

# units: those that are wanted now.
units() {
    say hearth
    ! is_on "$CALLS" || say hearth-livekit
    say hearth-nginx
}

platform_service() {
    for unit in $(units); do
        PART=${unit#hearth-}
        PART_IS_NGINX=no PART_IS_LIVEKIT=no
        [ "$PART" != nginx ] || PART_IS_NGINX=yes
        [ "$PART" != livekit ] || PART_IS_LIVEKIT=yes
        export PART PART_IS_NGINX PART_IS_LIVEKIT
        render "$HERE/hearth.service"
        put "/etc/systemd/system/$unit.service" 0644 0:0 <"$WORK/rendered"
        changed "$PART"
        [ "$PUT" != written ] || UNITS_CHANGED=yes
    done
    is_on "$CALLS" || drop_unit hearth-livekit
    make_directory "$NGINX_WEBROOT" 0755 0:0
    if [ "$CERTIFICATE" = acme ]; then
        make_directory /etc/letsencrypt/renewal-hooks/deploy 0755 0:0
        say '#!/bin/sh' >"$WORK/rendered"
        say '# A renewed certificate needs no restart: nginx reads it, and calls and syncs go on.' >>"$WORK/rendered"
        say "exec $ETC/run reload" >>"$WORK/rendered"
        put /etc/letsencrypt/renewal-hooks/deploy/hearth 0755 0:0 <"$WORK/rendered"
    fi
}

UNITS_CHANGED=no

# drop_unit UNIT: stop one that is not wanted any more, and forget it: when it is wanted again, it is new.
drop_unit() {
    [ -e "$ROOT/etc/systemd/system/$1.service" ] || return 0
    ! systemctl is-enabled --quiet "$1" 2>/dev/null || remove_unit "$1"
    ! is_ours "/etc/systemd/system/$1.service" || remove_ours "/etc/systemd/system/$1.service"
}

platform_start() {
    [ "$UNITS_CHANGED" = no ] || systemctl daemon-reload
    for unit in $(units); do
        case $TO_RESTART in
        *" ${unit#hearth-} "*)
            say "  start $unit"
            # shellcheck disable=SC2086 # one word
            systemctl enable --quiet $unit
            if [ "$unit" = hearth-nginx ] && systemctl is-active --quiet "$unit"; then
                systemctl reload "$unit"
            else
                systemctl restart "$unit"
            fi
            ;;
        *) systemctl start "$unit" ;;
        esac
    done
    if wants_certificate; then
        say "  ask for the certificate"
        request_certificate
    fi
}

# -- firewall ---------------------------------------------------------------------------------

open_ports() {
    say "$HTTPS_PORT/tcp"
    [ "$FEDERATION_PORT" = 0 ] || say "$FEDERATION_PORT/tcp"
    [ "$HTTP_PORT" = 0 ] || say "$HTTP_PORT/tcp"
    is_on "$CALLS" || return 0
    say "$LIVEKIT_TCP_PORT/tcp"
    say "$LIVEKIT_UDP_PORT/udp"
    is_on "$TURN" || return 0
    say "$TURN_PORT/udp"
    say "$TURN_FIRST_RELAY_PORT:$TURN_LAST_RELAY_PORT/udp"
}

uses_ufw() {
    is_on "$UFW" && has_command ufw && ufw status | grep -q '^Status: active'
}

platform_firewall() {
    if ! uses_ufw; then
        [ "$DRY_RUN" = no ] || say "  (to be open in a firewall, if there is one: $(open_ports | tr '\n' ' '))"
        return 0
    fi
    ufw show added >"$WORK/ufw"
    for port in $(open_ports); do
        ! grep -q "^ufw allow $port comment 'hearth'" "$WORK/ufw" || continue
        doing "open $port in ufw" || continue
        ufw allow "$port" comment hearth >/dev/null
    done
    for port in $(ports_opened); do
        open_ports | grep -qxF "$port" || close_port "$port"
    done
}

# ports_opened: those that were opened by us, whatever the settings were then.
ports_opened() {
    sed -n "s/^ufw allow \([^ ]*\) comment 'hearth'\$/\1/p" "$WORK/ufw"
}

close_port() {
    doing "close $1 in ufw" || return 0
    ufw delete allow "$1" >/dev/null
}

# -- certbot ----------------------------------------------------------------------------------

platform_acme_paths() {
    CERTIFICATE_PATH=/etc/letsencrypt/live/$HOST/fullchain.pem
    CERTIFICATE_KEY_PATH=/etc/letsencrypt/live/$HOST/privkey.pem
}

platform_request_certificate() {
    [ "$ACME_VALIDATION" = webroot ] || fail "$EXIT_SETTINGS" \
        "ACME_VALIDATION=dns is for OpenWRT's acme" \
        "obtain the certificate with a plugin of certbot and name its files in CERTIFICATE and CERTIFICATE_KEY"
}

request_certificate() {
    set -- certonly --webroot --webroot-path "$NGINX_WEBROOT" --non-interactive --agree-tos \
        --email "$ACME_EMAIL" --cert-name "$HOST" --renew-with-new-domains
    for name in $(certificate_names); do
        set -- "$@" --domain "$name"
    done
    certbot "$@" || fail "$EXIT_CERTIFICATE" "certbot could not obtain a certificate" \
        "it asks at port 80 of $(certificate_names | tr '\n' ' ')from outside: look at DNS and port forwarding" \
        "then call this again"
    systemctl reload hearth-nginx
}

# -- the way back -----------------------------------------------------------------------------

remove_unit() {
    doing "stop $1" || return 0
    systemctl disable --quiet --now "$1"
}

platform_remove() {
    for unit in $UNITS; do
        [ ! -e "$ROOT/etc/systemd/system/$unit.service" ] || remove_unit "$unit"
    done
    uses_ufw || return 0
    ufw show added >"$WORK/ufw"
    for port in $(ports_opened); do
        close_port "$port"
    done
}

main "$@"
