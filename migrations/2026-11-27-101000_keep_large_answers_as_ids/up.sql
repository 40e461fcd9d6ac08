set local lock_timeout = '5s';

alter table idempotency_keys add column task_ids uuid[];
comment on column idempotency_keys.task_ids is
    'The tasks that a large answer shows; its body is empty, and made anew from them.';
