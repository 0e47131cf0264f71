-- Every row's first column must be true.
select count(*) = 2, 'orders has its primary key and the index on item_id'
from pg_index
where indrelid = 'orders'::regclass and indisvalid;
