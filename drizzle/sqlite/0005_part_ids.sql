ALTER TABLE `uploads` ADD `part_ids` text;--> statement-breakpoint
UPDATE `uploads` SET `part_ids` = (
  SELECT group_concat(replace(`path`, rtrim(`path`, replace(`path`, '/', '')), ''))
  FROM (
    SELECT rtrim(CASE WHEN instr(`value`, '?') > 0 THEN substr(`value`, 1, instr(`value`, '?') - 1) ELSE `value` END, '/') AS `path`
    FROM json_each('["' || replace(substr(`concat`, 7), ' ', '","') || '"]')
    WHERE `value` <> ''
    ORDER BY `key`
  )
) WHERE `concat` LIKE 'final;%' AND `concat` NOT LIKE '%"%' AND `concat` NOT LIKE '%\%';
