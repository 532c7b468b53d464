# shellcheck shell=sh
# shellcheck disable=SC2154 # who sources this sets SETUP, the directory that it is in
# Everything that the programs have in common. What one of them defines afterwards takes the place
# of what is defined here.

# What other programs say is read here, so it has to be in English.
export LC_ALL=C

# shellcheck source=docker/setup/messages.sh
. "$SETUP/messages.sh"
# shellcheck source=docker/setup/settings.sh
. "$SETUP/settings.sh"
# shellcheck source=docker/setup/files.sh
. "$SETUP/files.sh"
# shellcheck source=docker/setup/machine.sh
. "$SETUP/machine.sh"
# shellcheck source=docker/setup/certificate.sh
. "$SETUP/certificate.sh"
# shellcheck source=docker/setup/configuration.sh
. "$SETUP/configuration.sh"
# shellcheck source=docker/setup/containers.sh
. "$SETUP/containers.sh"
# shellcheck source=docker/setup/main.sh
. "$SETUP/main.sh"
