"""The guest agent's client against a stand-in that answers as qemu-ga does."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import Awaitable, Callable

import pytest
from guests.agent import GuestAgent, GuestError

Answers = Callable[[dict[str, object]], list[dict[str, object]]]


def talk(answers: Answers, use: Callable[[GuestAgent], Awaitable[None]]) -> None:
    """Have ``use`` talk to an agent that answers each request with ``answers``."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        guest_reader, guest_writer = await asyncio.open_connection(sock=theirs)

        async def serve() -> None:
            while line := await guest_reader.readline():
                for answer in answers(json.loads(line)):
                    guest_writer.write(json.dumps(answer).encode() + b"\n")
            guest_writer.close()

        serving = asyncio.create_task(serve())
        await use(GuestAgent(reader, writer))
        writer.close()
        await serving

    asyncio.run(main())


def test_answers_to_earlier_greetings_are_skipped() -> None:
    def answers(request: dict[str, object]) -> list[dict[str, object]]:
        arguments = request["arguments"]
        assert isinstance(arguments, dict)
        return [{"return": 7}, {"error": {"class": "JSONParse"}}, {"return": arguments["id"]}]

    talk(answers, GuestAgent.synchronize)


def executed(status: dict[str, object]) -> Answers:
    """Return answers of an agent whose command runs for one look and then ended with ``status``."""
    looks = iter([{"exited": False}, {"exited": True, **status}])

    def answers(request: dict[str, object]) -> list[dict[str, object]]:
        if request["execute"] == "guest-exec":
            return [{"return": {"pid": 42}}]
        assert request == {"execute": "guest-exec-status", "arguments": {"pid": 42}}
        return [{"return": next(looks)}]

    return answers


def test_a_scripts_output_is_returned() -> None:
    async def use(agent: GuestAgent) -> None:
        assert await agent.execute("echo hällo") == "hällo\n"

    talk(executed({"exitcode": 0, "out-data": base64.b64encode("hällo\n".encode()).decode()}), use)


@pytest.mark.parametrize("status", [{"exitcode": 3}, {"signal": 9}])
def test_a_script_that_fails_is_an_error_with_what_it_said(status: dict[str, object]) -> None:
    async def use(agent: GuestAgent) -> None:
        with pytest.raises(GuestError, match="no such unit"):
            await agent.execute("false")

    talk(executed({**status, "err-data": base64.b64encode(b"no such unit\n").decode()}), use)


def test_a_command_that_the_agent_refuses_is_an_error() -> None:
    async def use(agent: GuestAgent) -> None:
        with pytest.raises(GuestError, match="disabled"):
            await agent.execute("true")

    talk(lambda _: [{"error": {"class": "CommandNotFound", "desc": "guest-exec has been disabled"}}], use)
