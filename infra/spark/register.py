"""Make a lake known to a Spark catalog: `spark-submit register.py s3://bucket/lake [database]`.

Creates the tables by their location and the views over them, in the current or given database.
Spark only ever reads: two engines that write one Delta log on S3 can overwrite each other's commit.
"""

import sys

from pyspark.sql import SparkSession

from jobs.lake.tables import Lake
from jobs.sql import views
from jobs.sql_spark import registration


def main() -> None:
    """Run the statements one by one, printing what is created."""
    root, *database = sys.argv[1:]
    session = SparkSession.builder.appName("deid-lake register").getOrCreate()
    if database:
        session.sql(f"CREATE DATABASE IF NOT EXISTS {database[0]}")
        session.sql(f"USE {database[0]}")
    for statement in registration(Lake(root), views()):
        session.sql(statement)
        print(next(line for line in statement.splitlines() if line.startswith("CREATE")))


if __name__ == "__main__":
    main()
