#!/bin/sh
# Sets hearth up on a router with OpenWRT, with its LiveKit, nginx, certificate and firewall.
# docs/openwrt.md goes through it. It needs nothing but what OpenWRT has: BusyBox, uci, procd.
# shellcheck disable=SC2034,SC2154 # files beside this one read and set these variables
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
SETUP=$HERE/../setup
NGINX_TEMPLATE=$HERE/../nginx/nginx.conf.template
NGINX_WEBROOT=/var/run/acme/challenge
NGINX_USER='nobody nogroup'

# shellcheck source=docker/setup/parts.sh
. "$SETUP/parts.sh"

# -- settings and advice ----------------------------------------------------------------------

platform_settings() {
    say "ZONE|word|wan|The firewall zone from which the services can be reached; that of the home network always can."
}

platform_refuses_flash() {
    return 0
}

platform_clock_advice() {
    say "have it set: /etc/init.d/sysntpd restart (needs the uplink), or date -s 'YYYY-MM-DD hh:mm:ss'"
}

platform_port_advice() {
    if [ "$2" = uhttpd ]; then
        say "that is LuCI; move it away: uci set uhttpd.main.listen_http=0.0.0.0:8080; uci set uhttpd.main.listen_https=0.0.0.0:8443; uci commit uhttpd; /etc/init.d/uhttpd restart"
    else
        say "stop it, or choose another port in the .env"
    fi
}

platform_log_advice() {
    say "its log: logread -e hearth"
}

# It is this machine that is asked: not by way of a proxy, and not for long.
platform_fetch() {
    (
        unset http_proxy HTTP_PROXY all_proxy ALL_PROXY
        wget -q -T 5 -O /dev/null "$1" 2>/dev/null
    )
}

# -- packages: opkg up to 24.10, apk after it -------------------------------------------------

platform_packages() {
    say nginx-ssl
    say openssl-util
    say "${RUNTIME_COMMAND:-$RUNTIME}"
    [ "${RUNTIME_COMMAND:-$RUNTIME}" != uxc ] || say nsenter
    [ "$CERTIFICATE" != acme ] || say acme-acmesh
    [ "$CERTIFICATE$ACME_VALIDATION" != acmedns ] || say acme-acmesh-dnsapi
}

platform_has_package() {
    case $1 in
    nginx-ssl) has_command nginx ;;
    openssl-util) has_command openssl ;;
    acme-acmesh) [ -e "$ROOT/usr/lib/acme/hook" ] ;;
    acme-acmesh-dnsapi) [ -d "$ROOT/usr/lib/acme/client/dnsapi" ] ;;
    *) has_command "$1" ;;
    esac
}

platform_install() {
    if has_command apk; then
        apk update && apk add "$@"
    else
        opkg update && opkg install "$@"
    fi || return 1
    case " $* " in
    *' nginx-ssl '*)
        # Ours is an nginx of its own; the packaged one would take ports 80 and 443.
        init_script nginx disable
        init_script nginx stop
        ;;
    esac
}

platform_install_advice() {
    if has_command apk; then say "apk update && apk add $1"; else say "opkg update && opkg install $1"; fi
}

# -- procd ------------------------------------------------------------------------------------

init_script() {
    [ ! -e "$ROOT/etc/init.d/$1" ] || sh "$ROOT/etc/rc.common" "$ROOT/etc/init.d/$1" "$2"
}

service_is_running() {
    [ -e "$ROOT/etc/init.d/hearth" ] && init_script hearth running
}

platform_service() {
    render "$HERE/hearth.init"
    put /etc/init.d/hearth 0755 0:0 <"$WORK/rendered"
    changed hearth
    [ "$PUT" != written ] || [ "$DRY_RUN" = yes ] || init_script hearth enable
    if is_on "$CALLS"; then
        make_directory "${HOTPLUG%/*}" 0755 0:0
        put "$HOTPLUG" 0644 0:0 <"$HERE/hearth.hotplug"
    else
        remove_ours "$HOTPLUG"
    fi
    for kept in $(files_for_sysupgrade); do
        keep_over_sysupgrade "$kept"
    done
}

HOTPLUG=/etc/hotplug.d/iface/95-hearth

# files_for_sysupgrade: the links of rc.d are what makes procd start a service.
files_for_sysupgrade() {
    say "$ETC/"
    say /etc/init.d/hearth
    say /etc/rc.d/S95hearth
    say /etc/rc.d/K05hearth
    say "$HOTPLUG"
}

keep_over_sysupgrade() {
    ! grep -qxF "$1" "$ROOT/etc/sysupgrade.conf" 2>/dev/null || return 0
    doing "have $1 kept by sysupgrade" || return 0
    say "$1" >>"$ROOT/etc/sysupgrade.conf"
}

platform_start() {
    case $TO_RESTART in
    *' hearth '* | *' livekit '*)
        say "  start hearth"
        # procd complains when it is to stop what has never been started.
        if [ -d "$ROOT/var/run/hearth" ]; then init_script hearth restart; else init_script hearth start; fi
        ;;
    *' nginx '*)
        say "  reload nginx"
        init_script hearth reload
        ;;
    *) init_script hearth start ;;
    esac
    if [ "$ACME_CHANGED" = yes ] || wants_certificate; then
        say "  ask for the certificate"
        request_certificate
    fi
}

# -- uci --------------------------------------------------------------------------------------

# staged …: uci, with our changes in a place of their own until they are committed. What an
# interruption leaves behind in uci's usual place would look as if it had been committed.
staged() {
    uci -t "$WORK/uci" "$@"
}

# put_section CONFIG SECTION TYPE OPTION=VALUE…: a section of ours in uci; +OPTION=VALUE is an entry
# of a list. A section that was changed by hand since is kept. SECTION_CHANGED says what was done.
put_section() {
    section=$1.$2
    wanted=$(printf '%s\n' "$@" | sha256sum | cut -c 1-64)
    present=$(section_sum "$section")
    noted=$(awk -v name="$section" '$1 == name { print $2 " " $3 }' "$ROOT$STATE/sections" 2>/dev/null || true)
    SECTION_CHANGED=no
    if [ -n "$present" ] && [ "$noted" = "$wanted $present" ]; then
        return 0
    fi
    if [ -n "$present" ] && [ -n "$noted" ] && [ "${noted#* }" != "$present" ]; then
        say "  keep $section in uci, which was changed by hand"
        return 0
    fi
    SECTION_CHANGED=yes
    doing "set $section in uci" || return 0
    config=$1 type=$3
    shift 3
    staged -q delete "$section" || true
    staged set "$section=$type"
    for option in "$@"; do
        case $option in
        +*) staged add_list "$section.${option#+}" ;;
        *) staged set "$section.$option" ;;
        esac
    done
    note_section "$section" "$wanted"
    case " $CONFIGS_CHANGED " in
    *" $config "*) ;;
    *) CONFIGS_CHANGED="$CONFIGS_CHANGED $config" ;;
    esac
}

CONFIGS_CHANGED=''
ACME_CHANGED=no

section_sum() {
    shown=$(staged -q show "$1" || true)
    [ -z "$shown" ] || say "$shown" | sort | sha256sum | cut -c 1-64
}

note_section() {
    {
        awk -v name="$1" '$1 != name' "$ROOT$STATE/sections" 2>/dev/null || true
        say "$1 $2 $(section_sum "$1")"
    } >"$WORK/sections"
    cp "$WORK/sections" "$ROOT$STATE/sections.part"
    move_in "$STATE/sections"
}

# drop_section SECTION: remove one of ours that is not wanted any more.
drop_section() {
    [ -n "$(staged -q get "$1" || true)" ] || return 0
    doing "remove $1 from uci" || return 0
    staged delete "$1"
    CONFIGS_CHANGED="$CONFIGS_CHANGED ${1%%.*}"
}

commit_changes() {
    case $CONFIGS_CHANGED in
    *firewall*) commit_firewall ;;
    esac
    case $CONFIGS_CHANGED in
    *acme*) commit acme ;;
    esac
    CONFIGS_CHANGED=''
}

# commit CONFIG: uci knows no other way than to commit everything that waits.
commit() {
    [ -z "$(uci -q changes "$1" || true)" ] ||
        warn "changes of $1 that were waiting in uci are committed with ours"
    staged commit "$1"
}

# A firewall that does not load would lock everybody out: the former one comes back then.
commit_firewall() {
    cp "$ROOT/etc/config/firewall" "$WORK/firewall"
    commit firewall
    if has_command fw4 && ! fw4 -q check; then
        cp "$WORK/firewall" "$ROOT/etc/config/firewall"
        fail "$EXIT_FAILED" "fw4 does not take the new rules; the former ones are back" "look: fw4 check"
    fi
    init_script firewall reload ||
        warn "the firewall is not running; the rules count when it is started: /etc/init.d/firewall start"
}

# rule NAME PROTOCOL PORTS: let in what comes for these ports.
rule() {
    put_section firewall "hearth_$1" rule "name=hearth: $1" "src=$ZONE" "proto=$2" "dest_port=$3" \
        "target=ACCEPT"
}

# check_zone: fw4 leaves rules of a zone that it does not know out, and says that all is well.
check_zone() {
    zones=$(staged -q show firewall | awk -F = '
        $2 == "zone" { is_zone[$1] = 1 }
        sub(/\.name$/, "", $1) && is_zone[$1] { gsub(/\047/, "", $2); print $2 }')
    printf '%s\n' "$zones" | grep -qxF "$ZONE" || fail "$EXIT_SETTINGS" \
        "$SETTINGS_FILE: ZONE: there is no zone $ZONE in the firewall" \
        "there are: $(printf '%s\n' "$zones" | tr '\n' ' ')"
}

platform_firewall() {
    if [ ! -e "$ROOT/etc/config/firewall" ]; then
        [ "$DRY_RUN" = no ] || warn "there is no firewall here (the package firewall4), so it gets no rules"
        return 0
    fi
    check_zone
    rule https tcp "$HTTPS_PORT"
    if [ "$FEDERATION_PORT" != 0 ]; then
        rule federation tcp "$FEDERATION_PORT"
    else
        drop_section firewall.hearth_federation
    fi
    if [ "$HTTP_PORT" != 0 ]; then rule http tcp "$HTTP_PORT"; else drop_section firewall.hearth_http; fi
    if is_on "$CALLS"; then
        rule calls_tcp tcp "$LIVEKIT_TCP_PORT"
        rule calls_udp udp "$LIVEKIT_UDP_PORT"
    else
        drop_section firewall.hearth_calls_tcp
        drop_section firewall.hearth_calls_udp
    fi
    if is_on "$CALLS" && is_on "$TURN"; then
        rule turn udp "$TURN_PORT"
        rule relay udp "$TURN_FIRST_RELAY_PORT-$TURN_LAST_RELAY_PORT"
    else
        drop_section firewall.hearth_turn
        drop_section firewall.hearth_relay
    fi
    [ "$DRY_RUN" = yes ] || commit_changes
}

# -- acme -------------------------------------------------------------------------------------

platform_acme_paths() {
    CERTIFICATE_PATH=/etc/ssl/acme/$HOST.fullchain.crt
    CERTIFICATE_KEY_PATH=/etc/ssl/acme/$HOST.key
}

platform_request_certificate() {
    put_account
    set -- enabled=1 key_type=ec256 "validation_method=$ACME_VALIDATION"
    for name in $(certificate_names); do
        set -- "$@" "+domains=$name"
    done
    if [ "$ACME_VALIDATION" = dns ]; then
        set -- "$@" "dns=$ACME_DNS"
        for credential in $ACME_CREDENTIALS; do
            set -- "$@" "+credentials=$credential"
        done
    fi
    put_section acme hearth cert "$@"
    ACME_CHANGED=$SECTION_CHANGED
    [ "$DRY_RUN" = yes ] || commit_changes
}

# The account of all certificates of the router: an address that somebody has chosen stays.
put_account() {
    case $(staged -q get 'acme.@acme[0].account_email' || true) in
    '' | email@example.org) ;;
    *) return 0 ;;
    esac
    doing "set the account of acme to $ACME_EMAIL" || return 0
    [ -n "$(staged -q get 'acme.@acme[0]' || true)" ] || staged add acme acme >/dev/null
    staged set "acme.@acme[0].account_email=$ACME_EMAIL"
    CONFIGS_CHANGED="$CONFIGS_CHANGED acme"
}

# request_certificate: acme tries again every night, so that it obtains none now is not the end.
request_certificate() {
    renew_for_our_names
    # That of 23.05 has nothing to enable.
    init_script acme enable || true
    asked=yes
    init_script acme start || asked=no
    # From 24.10 on "start" only sees to it that certificates are renewed.
    ! grep -q '"renew"' "$ROOT/etc/init.d/acme" || init_script acme renew || asked=no
    # cron does not run on a router that has had nothing for it before.
    init_script cron start || true
    [ "$asked" = yes ] || warn "acme has not obtained the certificate; why, says: logread -e acme"
}

# renew_for_our_names: acme.sh renews for the names that it has noted, whatever acme tells it.
renew_for_our_names() {
    kept=$ROOT/etc/acme/${HOST}_ecc/$HOST.conf
    [ "$NAMES_MISSING" = yes ] && [ -f "$kept" ] || return 0
    others=$(certificate_names | sed 1d | tr '\n' ',')
    others=${others%,}
    sed "s/^Le_Alt=.*/Le_Alt='${others:-no}'/; /^Le_NextRenewTime=/d" "$kept" >"$WORK/kept"
    cp "$WORK/kept" "$kept"
}

# -- the way back -----------------------------------------------------------------------------

platform_remove() {
    if [ -e "$ROOT/etc/init.d/hearth" ] && doing "stop hearth"; then
        init_script hearth stop
        init_script hearth disable
    fi
    for section in https federation http calls_tcp calls_udp turn relay; do
        drop_section "firewall.hearth_$section"
    done
    drop_section acme.hearth
    [ "$DRY_RUN" = yes ] || commit_changes
    for kept in $(files_for_sysupgrade); do
        grep -qxF "$kept" "$ROOT/etc/sysupgrade.conf" 2>/dev/null || continue
        doing "have $kept no longer kept by sysupgrade" || continue
        grep -vxF "$kept" "$ROOT/etc/sysupgrade.conf" >"$WORK/sysupgrade" || true
        cp "$WORK/sysupgrade" "$ROOT/etc/sysupgrade.conf"
    done
}

main "$@"
