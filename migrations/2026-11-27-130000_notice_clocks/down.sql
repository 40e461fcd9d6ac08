set local lock_timeout = '5s';

drop table database_writes;
alter table workers drop column lease_secs;
