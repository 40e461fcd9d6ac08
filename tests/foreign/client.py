"""Creates, lists and reads by the client that openapi-python-client made: client.py URL TOKEN, beside the package `client`."""

import sys

from client import AuthenticatedClient
from client.api.auth import auth_me
from client.api.tasks import tasks_create, tasks_list, tasks_show
from client.api.users import users_update_me
from client.models import ProfileChange, Task, TaskCreation, User
from client.models import PageTask


def expect(kind, answer):
    assert isinstance(answer, kind), f"{kind.__name__} expected: {answer}"
    return answer


url, token = sys.argv[1:]
with AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True) as client:
    # As a client whose models hold null for whatever nobody set.
    wanted = TaskCreation(
        task_type="noop",
        payload=None,
        queue=None,
        priority=None,
        run_at=None,
        delay_secs=None,
        max_attempts=None,
        unique_key=None,
        timeout_secs=None,
    )
    made = expect(Task, tasks_create.sync(client=client, body=wanted))
    listed = expect(PageTask, tasks_list.sync(client=client, limit=10))
    assert [task.id for task in listed.items] == [made.id], listed
    read = expect(Task, tasks_show.sync(made.id, client=client))
    assert (read.task_type, read.status, read.finished_at) == ("noop", "pending", None), read

    me = auth_me.sync(client=client)
    kept = expect(User, users_update_me.sync(client=client, body=ProfileChange(username=None, email=None)))
    assert kept.email == me.user.email, kept
