# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# completion.bash - bash completion of hvisor-vhost-ctl. Ids, plugins and their commands come from
# the daemon; without one there are only the program's own words.

# Runs the program with the --control of the line being typed.
_hvisor_vhost_ctl_ask()
{
    local i control=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --control) control=(--control "${COMP_WORDS[i + 1]}") ;;
        --control=*) control=("${COMP_WORDS[i]}") ;;
        esac
    done
    hvisor-vhost-ctl "${control[@]}" "$@" 2> /dev/null < /dev/null
}

_hvisor_vhost_ctl_ids()
{
    _hvisor_vhost_ctl_ask --json list | grep -o '"id":"[^"]*"' | cut -d '"' -f 4
}

# The human list is indented by depth: a plugin starts a line, a command follows four spaces.
_hvisor_vhost_ctl_plugins()
{
    _hvisor_vhost_ctl_ask plugins | sed -n '/^refused:/d; s/^\([a-z0-9-]\{1,\}\) .*: .*/\1/p'
}

_hvisor_vhost_ctl_plugin_commands()
{
    _hvisor_vhost_ctl_ask plugins | sed -n 's/^    \([a-z0-9-]*\) ID.*: .*/\1/p'
}

# Prints the command on the line before the cursor, if there is one.
_hvisor_vhost_ctl_command()
{
    local i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --control | --wait | --escape | -e) i=$((i + 1)) ;;
        =) i=$((i + 1)) ;; # bash splits --control=PATH into three words
        -*) ;;
        *)
            echo "${COMP_WORDS[i]}"
            return
            ;;
        esac
    done
}

_hvisor_vhost_ctl()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=''
    local own='add remove list show plugins events stats log zones zone save check shutdown help'
    local command
    command=$(_hvisor_vhost_ctl_command)
    COMPREPLY=()
    if [[ $before == --control || $command == check || ($command == add && ($before == [:=] || $word == [:=])) ]]; then
        [[ $word == [:=] ]] && word=''
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
    fi
    case $command in
    '') words="$own $(_hvisor_vhost_ctl_plugin_commands) --control --json --wait --help --version" ;;
    add)
        words=$(_hvisor_vhost_ctl_plugins | sed 's/$/:/')
        compopt -o nospace 2> /dev/null # the options follow at once
        ;;
    remove | show | stats) words=$(_hvisor_vhost_ctl_ids) ;;
    plugins) words=$(_hvisor_vhost_ctl_plugins) ;;
    log) words='error warning info debug' ;;
    help) words=$own ;;
    list | events | zones | shutdown) ;;
    *) [[ $before == "$command" ]] && words=$(_hvisor_vhost_ctl_ids) ;;
    esac
    if [[ $word == -* ]]; then
        case $command in
        remove | shutdown) words+=' --force' ;;
        plugins) words+=' --rescan --retire' ;;
        add | list | show | events | stats | log | zones | zone | save | check | help | '') ;;
        *) words+=' --escape' ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _hvisor_vhost_ctl hvisor-vhost-ctl
