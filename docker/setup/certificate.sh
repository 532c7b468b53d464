# shellcheck shell=sh
# The certificate: whether it is for our names, in date, and belongs to its key.

DAYS_LEFT=7
NAMES_MISSING=no # of a certificate that acme has obtained for others
EXPIRED=no       # one that acme has obtained

# find_certificate: CERTIFICATE_PATH and CERTIFICATE_KEY_PATH, the files that nginx reads.
find_certificate() {
    if [ "$CERTIFICATE" = acme ]; then
        platform_acme_paths
    else
        CERTIFICATE_PATH=$CERTIFICATE
        CERTIFICATE_KEY_PATH=$CERTIFICATE_KEY
    fi
}

has_certificate() {
    [ -s "$ROOT$CERTIFICATE_PATH" ] && [ -s "$ROOT$CERTIFICATE_KEY_PATH" ]
}

# certificate_names: those that it has to be for.
certificate_names() {
    say "$HOST"
    [ "$DOMAIN" = "$HOST" ] || ! is_on "$SERVE_DOMAIN" || say "$DOMAIN"
}

# check_certificate: the one that there is. One that acme has still to obtain is not missing yet.
check_certificate() {
    find_certificate
    if ! has_certificate; then
        [ "$CERTIFICATE" != acme ] || return 0
        for file in "$CERTIFICATE" "$CERTIFICATE_KEY"; do
            [ -s "$ROOT$file" ] || fail "$EXIT_CERTIFICATE" "there is no file $file"
        done
    fi
    has_command openssl || fail "$EXIT_RUNTIME" "openssl is missing, which looks at certificates" \
        "$(platform_install_advice openssl-util)"
    check_certificate_names
    check_certificate_dates
    check_certificate_key
    say "certificate: $CERTIFICATE_PATH, until $(certificate_end)"
}

# wants_certificate: whether acme is to be asked for one.
wants_certificate() {
    [ "$CERTIFICATE" = acme ] || return 1
    [ "$NAMES_MISSING$EXPIRED" != nono ] || ! has_certificate
}

# plan_renewal: acme would have renewed it by itself, so something was in its way; now may be better.
plan_renewal() {
    [ "$EXPIRED" = no ] || doing "ask for a certificate in place of the expired one" || true
}

certificate_end() {
    openssl x509 -noout -enddate -in "$ROOT$CERTIFICATE_PATH" | cut -d = -f 2
}

check_certificate_names() {
    openssl x509 -noout -in "$ROOT$CERTIFICATE_PATH" 2>/dev/null || fail "$EXIT_CERTIFICATE" \
        "$CERTIFICATE_PATH is not a certificate in PEM"
    for name in $(certificate_names); do
        if openssl x509 -noout -checkhost "$name" -in "$ROOT$CERTIFICATE_PATH" | grep -q 'does NOT'; then
            if [ "$CERTIFICATE" = acme ]; then
                NAMES_MISSING=yes
                warn "the certificate is not for $name yet; acme is asked for another one"
                continue
            fi
            fail "$EXIT_CERTIFICATE" "the certificate $CERTIFICATE_PATH is not for $name" \
                "it is for: $(names_in_certificate)"
        fi
    done
}

names_in_certificate() {
    openssl x509 -noout -ext subjectAltName -in "$ROOT$CERTIFICATE_PATH" 2>/dev/null |
        sed -n 's/DNS://g; s/^ *//; /X509v3/!p'
}

check_certificate_dates() {
    begin=$(openssl x509 -noout -startdate -in "$ROOT$CERTIFICATE_PATH" | cut -d = -f 2)
    if ! openssl x509 -noout -checkend 0 -in "$ROOT$CERTIFICATE_PATH" >/dev/null; then
        [ "$CERTIFICATE" = acme ] || fail "$EXIT_CERTIFICATE" \
            "the certificate $CERTIFICATE_PATH has expired: $(certificate_end)" "renew it, then come again"
        EXPIRED=yes
        warn "the certificate has expired: $(certificate_end); acme is asked for another one"
    elif ! openssl x509 -noout -checkend $((DAYS_LEFT * 86400)) -in "$ROOT$CERTIFICATE_PATH" >/dev/null; then
        warn "the certificate ends in less than $DAYS_LEFT days: $(certificate_end)"
    fi
    begins_later "$begin" && fail "$EXIT_CERTIFICATE" \
        "the certificate $CERTIFICATE_PATH begins later: $begin" "or the clock is wrong: $(date)"
    return 0
}

# begins_later "Nov 21 19:00:00 2026 GMT": compares with the clock, in UTC.
begins_later() {
    printf '%s\n' "$1" | awk -v now="$(date -u +%Y%m%d%H%M%S)" '{
        split($3, time, ":")
        month = (index("JanFebMarAprMayJunJulAugSepOctNovDec", $1) + 2) / 3
        exit !(sprintf("%d%02d%02d%s%s%s", $4, month, $2, time[1], time[2], time[3]) + 0 > now + 0)
    }'
}

check_certificate_key() {
    of_certificate=$(openssl x509 -noout -pubkey -in "$ROOT$CERTIFICATE_PATH")
    of_key=$(openssl pkey -pubout -in "$ROOT$CERTIFICATE_KEY_PATH" 2>/dev/null) || fail "$EXIT_CERTIFICATE" \
        "$CERTIFICATE_KEY_PATH is not a private key in PEM without a password"
    [ "$of_certificate" = "$of_key" ] || fail "$EXIT_CERTIFICATE" \
        "the key $CERTIFICATE_KEY_PATH does not belong to the certificate $CERTIFICATE_PATH"
}
