"""A reply whose signal was lost is read all the same: with nbclient's own channel, a notebook with widgets hangs now and then."""

from __future__ import annotations

import asyncio

import pytest
import zmq
import zmq.asyncio
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.session import Session

from mulnb.notebooks import kernel

PATIENCE_S = 5 * kernel.LOOK_AGAIN_S


async def receive_after_a_lost_signal(channel_class):
    """Wait for a message whose arrival somebody else has already seen, as a send on the same socket does."""
    context = zmq.asyncio.Context()
    session = Session(key=b"a key")
    here = context.socket(zmq.DEALER)
    there = zmq.Socket.shadow(context.socket(zmq.DEALER))
    port = here.bind_to_random_port("tcp://127.0.0.1")
    there.connect(f"tcp://127.0.0.1:{port}")

    try:
        waiting = asyncio.ensure_future(channel_class(here, session).get_msg())
        await asyncio.sleep(0.1)  # it waits now
        session.send(there, "execute_reply")
        while not zmq.Socket.shadow(here).get(zmq.EVENTS) & zmq.POLLIN:
            pass  # asking for the events takes the signal away; no `await`, so that the waiting task cannot come first
        message = await asyncio.wait_for(waiting, PATIENCE_S)
        return message["msg_type"]
    finally:
        context.destroy(linger=0)


@pytest.mark.slow
def test_the_channel_of_a_kernel_reads_a_reply_whose_signal_was_lost():
    assert asyncio.run(receive_after_a_lost_signal(kernel._Channel)) == "execute_reply"


@pytest.mark.slow
def test_without_it_the_reply_would_be_lost():
    """When this fails, jupyter_client mends it itself, and the channel in `kernel` can go."""
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(receive_after_a_lost_signal(AsyncZMQSocketChannel))


def test_a_time_limit_holds():
    async def wait_for_nothing():
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as socket:
            await kernel._Channel(socket, Session(key=b"a key")).get_msg(timeout=0.2)

    with pytest.raises(kernel.queue.Empty):
        asyncio.run(asyncio.wait_for(wait_for_nothing(), PATIENCE_S))
