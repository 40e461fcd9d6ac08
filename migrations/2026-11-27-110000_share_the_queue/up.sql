set local lock_timeout = '5s';

-- Due tasks by owner: a worker finds the tasks of those who have few slots, however many tasks of one owner are in front of
-- them. Nothing that a success changes is in it.
create index tasks_due_of_owner on tasks (created_by, queue, priority desc, run_at) where stage = 'due';
-- The other small sets of an owner's tasks, in the order of lists: counted, listed and cancelled without going through all of
-- that owner's tasks.
create index tasks_of_owner_by_stage on tasks (created_by, stage, id)
    where stage in ('waiting', 'failed', 'cancelled') and created_by is not null;
