set local lock_timeout = '5s';

delete from audit_log where outcome = 'denied';
alter table audit_log
    drop constraint audit_log_outcome_known,
    add constraint audit_log_outcome_known check (outcome in ('success', 'failure'));
