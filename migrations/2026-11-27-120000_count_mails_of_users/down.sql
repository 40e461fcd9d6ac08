set local lock_timeout = '5s';

drop table mail_quotas;
