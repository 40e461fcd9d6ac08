set local lock_timeout = '5s';

-- Whether a worker lives is decided by whoever watched its row for a whole lease, by their own clock: the clock of the
-- database may jump. Workers of an older version do not say how long their lease is, and have the default.
alter table workers add column lease_secs double precision not null default 30 check (lease_secs > 0);
comment on column workers.lease_secs is 'How long it may give no sign of life.';

create table database_writes (
    only_row boolean primary key default true check (only_row),
    written_at timestamptz not null
) with (fillfactor = 50);
comment on table database_writes is
    'When a process last wrote here, every few seconds: that the database takes writes, and how late it was by its clock.';
insert into database_writes (written_at) values (now());
