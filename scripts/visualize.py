"""Draw the paper's Fig. 4 or 3: python scripts/visualize.py ckpt=outputs/cod_r32/seed0 worst=4 (--help tells more)."""

from ipsam.cli.visualize import main

if __name__ == "__main__":
    main()
