select 'nothing to do: a temporary table is gone';
