"""Where a step's program reads code: what a caller sends must never stand there.

No shell reads a step's arguments, but the program may be a shell, or start one: `sh -c TEXT`, `awk PROGRAM`, `ssh host
WORDS`. A template in such a text makes code of what a caller sends. One that is not named here, such as a script of the
operator's own that calls `eval`, can't be known.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trigger.templates import is_open

PROGRAM = "the program can't be a template: what a caller sends must not say what is run"

_ARGUMENT = """give it as an argument: [sh, -c, 'deploy "$1"', deploy, "{{ input.b }}"]"""
_VARIABLE = """give it by env, as B: "{{ input.b }}", and read"""
_STDIN = "let the program read its stdin, where the input is as JSON"
_SQL = "use a python step, which can give it as a parameter"


@dataclass(frozen=True, slots=True)
class _Words:
    """How a program reads its words.

    `operands`, a letter for each operand: (d)ata, (c)ode, (s)cript, after which all is the script's own, (p)rogram,
    whose words follow, and "*" for code up to the end. `code` are the options whose value is code, and `values` those
    with another value, without their dashes. `mixed`: it reads options behind its operands too; `ends`: none behind its
    code. `right` says how a value is given to it.
    """

    operands: str = ""
    code: str = ""
    values: str = ""
    right: str = ""
    mixed: bool = False
    ends: bool = False


_SHELL = _Words("s", "c command init-command rcfile init-file", "o O", _ARGUMENT)
# By the names of programs; "docker+exec" is the first two words. To those above the gap code is given; those below it
# start another program.
_TABLE = {
    "sh bash dash ash ksh mksh zsh rbash csh tcsh yash fish elvish nu xonsh": _SHELL,
    "python pypy ipython": _Words(
        "s", "c m", "X W", """write [python3, -c, 'import sys; f(sys.argv[1])', "{{ input.b }}"]""", ends=True
    ),
    "perl": _Words("s", "e E M m I", "", """write [perl, -e, 'f(shift)', --, "{{ input.b }}"]"""),
    "ruby jruby": _Words("s", "e r I", "C E", """write [ruby, -e, 'f(ARGV[0])', --, "{{ input.b }}"]"""),
    "node nodejs bun tsx ts-node": _Words(
        "s",
        "e p r eval print require import loader experimental-loader",
        "C conditions",
        """write [node, -e, 'f(process.argv[1])', --, "{{ input.b }}"]""",
    ),
    "php": _Words("s", "r B R E d", "c z", """write [php, -r, 'f($argv[1]);', --, "{{ input.b }}"]"""),
    "lua luajit": _Words("s", "e l", "", _STDIN),
    "osascript": _Words("s", "e", "l", """write [osascript, script.scpt, "{{ input.b }}"]"""),
    "powershell pwsh": _Words("*", right=f"{_VARIABLE} $env:B"),
    "powershell+-File pwsh+-File": _Words("s", right=f"{_VARIABLE} $env:B"),
    "Rscript R raku julia elixir groovy scala octave guile racket sbcl clojure gnuplot emacs vim vi nvim gdb dc tclsh "
    "expect swipl erl bpftrace": _Words(
        "s", "e E ex g c eval exec execute evaluate expression batch", "", _STDIN
    ),
    "awk gawk mawk nawk": _Words(
        "c",
        "e f E i l source file exec include load",
        "v F assign field-separator",
        f'{_VARIABLE} ENVIRON["B"]',
        mixed=True,
    ),
    "sed gsed": _Words("c", "e f expression file", "l line-length", f'use awk: {_VARIABLE} ENVIRON["B"]', mixed=True),
    "jq gojq jaq": _Words("c", "f L from-file library-path", "indent", f"{_VARIABLE} $ENV.B", mixed=True),
    "yq": _Words("c", "from-file expression", "", f"{_VARIABLE} strenv(B)", mixed=True),
    "psql": _Words(
        "",
        "c f command file",
        "v d h p U set variable",
        """write [psql, -v, "b={{ input.b }}", -f, query.sql], and :'b' in query.sql""",
        mixed=True,
    ),
    "mysql mariadb mongosh mongo sqlcmd clickhouse-client cqlsh sqlplus": _Words(
        "", "e c q Q f execute command query eval file init-command", "h u P D S p d U", _SQL, mixed=True
    ),
    "sqlite sqlite3 duckdb": _Words("dc", "c cmd", "separator", _SQL, mixed=True),
    "su runuser script flock": _Words("", "c command session-command", "", _ARGUMENT, mixed=True),
    "ssh rsh mosh autossh dbclient": _Words("d*", "o F", "b B c D E e I i J L l m O p Q R S W w", _STDIN),
    "eval watch parallel cmd xterm": _Words("*", right=_ARGUMENT),
    "tmux screen m4 deno+eval": _Words("*", right=_STDIN),
    "make gmake": _Words("*", right=f"{_VARIABLE} $$B in the recipe"),

    "env": _Words("p", "S split-string", "u C unset chdir", _ARGUMENT),
    "sudo doas": _Words("p", "", "u g h p C r t T U D R user group host prompt chdir chroot role type other-user"),
    "nice": _Words("p", "", "n adjustment"),
    "ionice": _Words("p", "", "c n class classdata"),
    "timeout gtimeout": _Words("dp", "", "s k signal kill-after"),
    "chrt taskset chroot": _Words("dp", "", "T P D userspec groups"),
    "xargs": _Words("p", "", "a d E I L n P s arg-file delimiter replace max-lines max-args max-procs max-chars"),
    "stdbuf": _Words("p", "", "i o e input output error"),
    "strace ltrace time": _Words("p", "", "o e E P s u p f output format"),
    "sshpass": _Words("p", "", "p f d P"),
    "nohup setsid busybox toybox unbuffer fakeroot tini dumb-init npx": _Words("p"),
    "uv+run poetry+run pipenv+run bundle+exec": _Words("p"),
    "docker+exec podman+exec nerdctl+exec": _Words("dp", "", "e u w env env-file user workdir detach-keys"),
}  # fmt: skip
_WORDS = {name.replace("+", " "): words for names, words in _TABLE.items() for name in names.split()}
# Options with a name and a value.
_PAIRS = frozenset({"--arg", "--argjson", "--slurpfile", "--rawfile"})
# They start what stands somewhere among their words, after options that are too many to be listed here.
_LAUNCHERS = (
    "find docker podman nerdctl docker-compose kubectl oc lxc systemd-run systemd-nspawn bwrap ip flatpak unshare "
    "nsenter setpriv firejail vagrant conda srun gosu su-exec setuser chpst daemonize valgrind perf nix nix-shell"
)
_EXECS = ("-exec", "-execdir", "-ok", "-okdir")  # of `find`: a program follows

# Variables that say what programs run or load, and how the names of others begin.
_LOADED = (
    "PATH ENV IFS PS4 SHELL SHELLOPTS BASHOPTS PROMPT_COMMAND EDITOR VISUAL PAGER BROWSER LESSOPEN LESSCLOSE CLASSPATH "
    "GCONV_PATH PHPRC PHP_INI_SCAN_DIR JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS MAKEFLAGS MAKEFILES RSYNC_RSH "
    "PSQLRC TAR_OPTIONS ZDOTDIR FPATH HOME GIT_SSH GIT_SSH_COMMAND GIT_PROXY_COMMAND GIT_EXTERNAL_DIFF GIT_EDITOR "
    "GIT_SEQUENCE_EDITOR GIT_PAGER GIT_ASKPASS GIT_EXEC_PATH GIT_TEMPLATE_DIR GIT_DIR SSH_ASKPASS SUDO_ASKPASS"
)
_LOADING = ("LD_", "DYLD_", "BASH_", "PYTHON", "PERL", "RUBY", "NODE_", "LUA_", "GIT_CONFIG", "BUNDLE_")

_VERSION = re.compile(r"[-.]?\d[\d.]*$")
_UNNAMED = re.compile(r"(-|--[^=\s{]*)\{[{%]")
_SETS = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def misread(argv: Sequence[str]) -> dict[int, str]:
    """Return the mistakes in arguments, by place: templates that would be read as code, as an option or a program."""
    found = dict(_command(argv, 0))
    for index, text in enumerate(argv):
        if text == "--":
            break
        if _UNNAMED.match(text) and is_open(text):
            found.setdefault(index, "a caller must not choose the option: write its name, as in --name={{ input.b }}")
    return found


def misused(name: str, value: str) -> str | None:
    """Return what is wrong with the value of an environment variable, if anything."""
    if (name in _LOADED.split() or name.startswith(_LOADING)) and is_open(value):
        return f"{name} says what programs run or load: what a caller sends must not stand in it"
    return None


def _command(argv: Sequence[str], at: int) -> Iterator[tuple[int, str]]:
    """Yield the mistakes in the program at a place, and in the words behind it."""
    if at >= len(argv):
        return
    if is_open(argv[at]):
        yield at, PROGRAM
        return
    name = _name(argv[at])
    both = f"{name} {argv[at + 1]}" if at + 1 < len(argv) else name
    if both in _WORDS:
        yield from _read(argv, at + 2, both, _WORDS[both])
    elif name in _WORDS:
        yield from _read(argv, at + 1, name, _WORDS[name])
    else:
        yield from _started(argv, at + 1) if name in _LAUNCHERS.split() else _mentioned(argv, at + 1)


def _started(argv: Sequence[str], at: int) -> Iterator[tuple[int, str]]:
    """The programs that stand among the words of one that starts others, as far as the words show them."""
    found = False
    for index in range(at, len(argv)):
        known = _name(argv[index]) in _WORDS or argv[index - 1] == "--"
        if argv[index - 1] in _EXECS or (known and not found):
            found = True
            yield from _command(argv, index)


def _mentioned(argv: Sequence[str], at: int) -> Iterator[tuple[int, str]]:
    """As `_started` for any other program: a word that names an interpreter may be any word; its option tells."""
    for index in range(at, len(argv)):
        name = _name(argv[index])
        if name in _WORDS and _WORDS[name].code:
            yield from _read(argv, index + 1, name, _WORDS[name], operands="")


def _read(
    argv: Sequence[str], at: int, name: str, words: _Words, operands: str | None = None
) -> Iterator[tuple[int, str]]:
    """The words that a program reads, from a place on; `operands` in place of its own."""
    left = words.operands if operands is None else operands
    wrong = f"{name} reads this as code, which a caller must not write: {words.right}"
    options = True
    while at < len(argv):
        text = argv[at]
        if left == "*":
            if is_open(text):
                yield at, wrong
            at += 1
        elif options and text == "--":
            options = False
            at += 1
        elif options and len(text) > 1 and text[0] in "-+":
            is_code, values = _option(text, words)
            at += 1
            if is_code and words is _SHELL and not text.startswith("--"):
                left = "c"  # more options may stand before the code itself
            elif is_code:
                left = "" if left in ("c", "s") else left  # what would stand there is given already
                for index in range(at - 1, at + values):
                    if index < len(argv) and is_open(argv[index]):
                        yield index, wrong
            at += values
            if is_code and words.ends:
                return
        elif left[:1] == "p":
            sets = _SETS.match(text)
            if sets is None:
                yield from _command(argv, at)
                return
            misuse = misused(sets[1], sets[2])
            if misuse:
                yield at, misuse
            at += 1
        else:
            if left[:1] in ("c", "s") and left and is_open(text):
                yield at, wrong
            left = left[1:]
            if not left and not words.mixed:
                return
            at += 1


def _option(text: str, words: _Words) -> tuple[bool, int]:
    """Whether an option's value is code, and how many of the words behind it are values of it."""
    name, equals, _ = text.lstrip("-+").partition("=")
    for options, is_code in ((words.code, True), (words.values, False)):
        for option in options.split():
            # Long options may be shortened after two dashes, and have one only in some programs.
            if len(option) > 1 and (option == name or (text.startswith("--") and name and option.startswith(name))):
                return is_code, 0 if equals else 1
    if text in _PAIRS:
        return False, 2
    is_code = False
    for index, letter in enumerate("" if text.startswith("--") else text[1:], 2):
        if not letter.isalnum():
            break
        if letter in words.code.split():
            is_code = True
            if words is not _SHELL:  # there the code is an operand
                return True, int(index == len(text))
        if letter in words.values.split():
            return is_code, int(index == len(text))
    return is_code, 0


def _name(text: str) -> str:
    """A program's name without its folder and version."""
    name = posixpath.basename(text)
    return name if name in _WORDS else _VERSION.sub("", name)
