-- As schema_cases.sql, for what PostgreSQL 18 has and older ones have not.

alter table shop.cache add n integer generated always as (length(k)) virtual;
alter table shop.cache drop n;
--> +column n integer generated always as (length(k))

alter table shop.orders add constraint later check (amount < 9) not enforced;
alter table shop.orders drop constraint later;
--> NOT ENFORCED

alter table shop.orders alter constraint orders_user_fk not enforced;
alter table shop.orders alter constraint orders_user_fk enforced;
--> NOT ENFORCED

alter table shop.users rename constraint users_name_not_null to has_name;
alter table shop.users rename constraint has_name to users_name_not_null;
--> constraint has_name on shop.users

alter table shop.cache add constraint has_k not null k not valid;
alter table shop.cache drop constraint has_k;
--> NOT VALID

create table shop.stays (room int4range, during daterange, primary key (room, during without overlaps));
drop table shop.stays;
--> WITHOUT OVERLAPS
