"""As much of Ray as the engine needs, in this process: actors are objects, their calls run in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from typing import Any


class exceptions:  # noqa: N801  # it stands for a module
    """What goes wrong."""

    class RayError(Exception):
        """Something of Ray did."""

    class RayTaskError(RayError):
        """A call did, for this cause."""

        def __init__(self, cause: BaseException) -> None:
            super().__init__(str(cause))
            self.cause = cause


class Actor:
    """An object that can be begun anew, whereupon its calls that have not been answered are made again."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._calls = make, []
        self._object = make()
        self.killed = False

    def __getattr__(self, name: str) -> Any:
        class Method:
            @staticmethod
            def remote(*arguments: Any) -> Future[Any]:
                call: Future[Any] = Future()
                self._calls.append((name, arguments, call))
                self._begin(name, arguments, call)
                return call

        return Method

    def _begin(self, name: str, arguments: tuple[Any, ...], call: Future[Any]) -> None:
        mine = self._object

        def work() -> None:
            try:
                value = getattr(mine, name)(*arguments)
            except BaseException as error:
                if self._object is mine and not call.done():
                    call.set_exception(exceptions.RayTaskError(error))
            else:
                if self._object is mine and not call.done():
                    call.set_result(value)

        threading.Thread(target=work, daemon=True).start()

    def die(self) -> None:
        """Lose all that it has in hand, and begin anew."""
        dead, self._object = self._object, self._make()
        dead._stop.set()
        for name, arguments, call in self._calls:
            if not call.done():
                self._begin(name, arguments, call)


class FakeRay:
    """Stands for the module."""

    exceptions = exceptions

    def __init__(self) -> None:
        self.actors: list[Actor] = []
        self.options: dict[str, Any] = {}
        self.addresses: list[str] = []
        self.running = False

    def is_initialized(self) -> bool:
        return self.running

    def init(self, *, address: str | None = None, **settings: Any) -> None:
        self.addresses.append(address or "")
        self.running = True

    def shutdown(self) -> None:
        self.running = False

    def remote(self, cls: type) -> Any:
        fake = self

        class Remote:
            @staticmethod
            def options(**options: Any) -> Any:
                fake.options = options
                return Remote

            @staticmethod
            def remote(*arguments: Any) -> Actor:
                fake.actors.append(Actor(lambda: cls(*arguments)))
                return fake.actors[-1]

        return Remote

    def wait(self, calls: list[Future[Any]], timeout: float) -> tuple[list[Future[Any]], list[Future[Any]]]:
        done, rest = wait_for(calls, timeout, FIRST_COMPLETED)
        return list(done), list(rest)

    def get(self, call: Future[Any]) -> Any:
        return call.result()

    def kill(self, actor: Actor) -> None:
        actor.killed = True
        actor._object._stop.set()
