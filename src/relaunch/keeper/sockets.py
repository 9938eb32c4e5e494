"""The sockets that are listened on for jobs: bound once for a key, and open until they are closed for it.

Whatever happens to jobs and launchers meanwhile, callers wait in the backlog. Nothing is accepted or read here. Refuses
to know jobs, and names of hosts: addresses come in as numbers, as looking a name up would hold up the reaping.
"""

import _socket  # what `socket` re-exports, without a quarter of a megabyte of enumerations
import errno
import os
import select
import stat

from relaunch.keeper.children import failed
from relaunch.keeper.preparation import raw
from relaunch.keeper.wire import TYPE_CHECKING, Message, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

MODE = 0o600
_PATH_BYTES_MAX = 107
_KINDS = {"stream": _socket.SOCK_STREAM, "dgram": _socket.SOCK_DGRAM, "seqpacket": _socket.SOCK_SEQPACKET}
# This host has no such family, or no address in it.
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class _Bound:
    """One socket, as it was bound."""

    def __init__(self, bound: _socket.socket, name: str, path: bytes | None = None) -> None:
        self.socket = bound
        self.fd = bound.fileno()
        self.name = name
        self._path = path
        self._file = None if path is None else _identity(path)

    def address(self) -> str:
        """As people write it."""
        if self._path is not None:
            return os.fsdecode(self._path)
        host, port = self.socket.getsockname()[:2]
        return _written(host, port)

    def close(self) -> None:
        """Close it, and remove its file where that is still its own."""
        self.socket.close()
        if self._path is not None and self._file is not None and _identity(self._path) == self._file:
            os.unlink(self._path)


class Sockets:
    """The keys that are listened on. Registers sockets that are watched with the epoll object given."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._held: dict[str, tuple[list[_Bound], bytes]] = {}
        self._watched: dict[int, str] = {}

    def keys(self) -> list[str]:
        """What is listened on."""
        return list(self._held)

    def of(self, key: str) -> list[tuple[str, int]]:
        """Name and descriptor of each socket of a key, in the order they were given in; none where it is not held."""
        return [(bound.name, bound.fd) for bound in self._held[key][0]] if key in self._held else []

    def carry_out(self, order: Message) -> "Iterator[bytes]":
        """Carry out a `listen`, `watch` or `close` order, and say what there is to say of it."""
        key: str = order["key"]
        match order["op"]:
            case "listen":
                yield self._listen(key, order["sockets"])
            case "watch" if key not in self._held:
                yield failed(key, "socket", errno.ENOTCONN, key)
            case "watch":
                self._watch(key)
            case "close":
                self._unwatch(key)
                _close(self._held.pop(key, ([], b""))[0])

    def called(self, fd: int) -> bytes | None:
        """The report where this descriptor is one that was watched; its key is watched no more."""
        key = self._watched.get(fd)
        if key is None:
            return None
        self._unwatch(key)
        return encode({"event": "called", "key": key})

    def _listen(self, key: str, sockets: list[tuple[str, Message]]) -> bytes:
        if key not in self._held:
            opened: list[_Bound] = []
            subject = ""
            kept = False
            try:
                for name, spec in sockets:
                    subject = spec.get("path") or _written(spec.get("host") or "*", spec["port"])
                    opened.extend(_bind(name, spec))
                kept = True
            except OSError as error:
                return failed(key, "socket", error.errno or errno.EINVAL, subject)
            finally:
                if not kept:
                    _close(opened)
            addresses = [[bound.name, bound.address()] for bound in opened]
            self._held[key] = opened, encode({"event": "listening", "key": key, "addresses": addresses})
        return self._held[key][1]

    def _watch(self, key: str) -> None:
        for bound in self._held[key][0]:
            if bound.fd not in self._watched:
                self._epoll.register(bound.fd, select.EPOLLIN)
                self._watched[bound.fd] = key

    def _unwatch(self, key: str) -> None:
        # Closing alone would not do: a job may have a copy, and epoll knows the socket, not the descriptor.
        for bound in self._held[key][0] if key in self._held else ():
            if self._watched.pop(bound.fd, None) is not None:
                self._epoll.unregister(bound.fd)


def _close(sockets: list[_Bound]) -> None:
    for bound in sockets:
        try:
            bound.close()
        except OSError:  # the file stays, and is replaced by whoever listens there next
            pass


def _bind(name: str, spec: Message) -> "Iterator[_Bound]":
    """Bind what one entry of a `listen` order asks for."""
    kind = _KINDS[spec.get("kind", "stream")]
    if spec.get("path") is not None:
        mode = spec.get("mode")
        yield _bind_path(name, kind, raw(spec["path"]), MODE if mode is None else mode)
        return
    port, missing, found = spec["port"], None, False
    for family, host, scope, both in _addresses(spec):
        try:
            bound = _bind_address(kind, family, (host, port, 0, scope), both=both)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            missing = error
            continue
        port = bound.getsockname()[1]  # where any would do, it is one for all addresses
        found = True
        yield _Bound(bound, name)
        if both:
            return
    if missing is not None and not found:
        raise missing


def _addresses(spec: Message) -> "Iterator[tuple[int, str, int, bool]]":
    """Family, address and scope of what to bind, and whether that takes callers of both families and is enough."""
    family = spec.get("family")
    if spec.get("host"):
        for host, scope in spec["addresses"]:
            yield _socket.AF_INET6 if ":" in host else _socket.AF_INET, host, scope, False
        return
    if family != "ipv4":
        yield _socket.AF_INET6, "::", 0, family is None
    if family != "ipv6":
        yield _socket.AF_INET, "0.0.0.0", 0, False  # noqa: S104 - no address was named


def _bind_address(kind: int, family: int, address: tuple[str, int, int, int], *, both: bool) -> _socket.socket:
    bound = _socket.socket(family, kind)
    try:
        if family == _socket.AF_INET6:
            bound.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, not both)
        if kind == _socket.SOCK_STREAM:  # for datagrams it would let others take the port over
            bound.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, True)
        bound.bind(address if family == _socket.AF_INET6 else address[:2])
        if kind == _socket.SOCK_STREAM:
            bound.listen(_socket.SOMAXCONN)
    except BaseException:
        bound.close()
        raise
    return bound


def _bind_path(name: str, kind: int, path: bytes, mode: int) -> _Bound:
    if len(path) > _PATH_BYTES_MAX:
        raise OSError(errno.ENAMETOOLONG, "path too long for a socket")
    bound = _socket.socket(_socket.AF_UNIX, kind)
    before = os.umask(0o777 & ~mode)  # and so its file never had another mode
    try:
        try:
            bound.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_dead(path)
            bound.bind(path)
        if kind != _socket.SOCK_DGRAM:
            bound.listen(_socket.SOMAXCONN)
        return _Bound(bound, name, path)
    except BaseException:
        bound.close()
        raise
    finally:
        os.umask(before)


def _remove_dead(path: bytes) -> None:
    """Remove a socket's file that nobody has bound any more.

    Raises:
        OSError: It is something else.
    """
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise OSError(errno.EEXIST, "no socket")
    # Whatever kind of socket is bound there, one of this kind is refused for its absence alone, and disturbs it not.
    asking = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        if asking.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "somebody has bound it")
    finally:
        asking.close()
    os.unlink(path)


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
