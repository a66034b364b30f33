"""The command that prints the script by which a shell completes `towline`."""

from __future__ import annotations

import click

from towline.cli.command import Choice, Command
from towline.cli.terminal import say

BASH = r"""
_towline_completion() {
    local program=$1
    type -P -- "$program" >/dev/null || program=towline
    local -a lines
    mapfile -t lines < <(
        _TOWLINE_COMPLETE=bash _TOWLINE_LINE="${COMP_LINE:0:COMP_POINT}" \
            _TOWLINE_BREAKS=$COMP_WORDBREAKS command "$program" 2>/dev/null </dev/null
    )
    case ${lines[0]-} in
        file) compopt -o default ;;
        dir) compopt -o dirnames ;;
    esac
    COMPREPLY=("${lines[@]:1}")
}
complete -o nosort -F _towline_completion towline
"""
ZSH = r"""
#compdef towline
_towline() {
    local -a lines names shown
    local line
    lines=("${(@f)$(_TOWLINE_COMPLETE=zsh command "${words[1]}" "${(@Q)words[2,CURRENT-1]}" \
        "${(Q)PREFIX}" 2>/dev/null </dev/null)}")
    case $lines[1] in
        file) _files; return ;;
        dir) _files -/; return ;;
    esac
    for line in "${(@)lines[2,-1]}"; do
        names+=("${line%% *}")
        shown+=("${line/ /  -- }")
    done
    compadd -l -V towline -d shown -a names
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _towline "$@"
else
    compdef _towline towline
fi
"""
FISH = r"""
function __towline_complete
    set -lx _TOWLINE_COMPLETE fish
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    set -l lines (command $program $words "$(commandline -ct)" 2>/dev/null </dev/null)
    switch "$lines[1]"
        case file
            __fish_complete_path (commandline -ct)
        case dir
            __fish_complete_directories (commandline -ct)
        case '*'
            set -e lines[1]
            string replace ' ' \t -- $lines
    end
end
complete --command towline --no-files --keep-order --arguments '(__towline_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@click.command(cls=Command)
@click.argument("shell", metavar="bash|zsh|fish", type=Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print the script by which bash, zsh or fish completes towline.

    It completes commands, options and their choices, and, asked of the controller, nodes, labels,
    targets and jobs: within 0.15 s, or from what was answered in the last hour, which stands in
    ~/.cache/towline for you alone.

    \b
    For bash, in ~/.bashrc:
        eval "$(towline completion bash)"
    For zsh, in ~/.zshrc, behind compinit:
        eval "$(towline completion zsh)"
    For fish, in ~/.config/fish/config.fish:
        towline completion fish | source
    """
    say(*SCRIPTS[shell].strip().split("\n"))


COMMANDS = (completion,)
