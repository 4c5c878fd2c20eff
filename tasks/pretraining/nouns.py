"""The things of the emoji world: each noun is one word and one picture character.

`noun=short_name` names the character by the `short_name` of `emoji.json` (emoji-datasource); a bare noun is its own short name.
One word per noun keeps every noun usable as an initializer token.
"""

ANIMALS = """
monkey gorilla dog=dog2 raccoon cat=cat2 lion=lion_face tiger=tiger2 horse=racehorse unicorn=unicorn_face zebra=zebra_face
deer cow=cow2 pig=pig2 sheep camel llama giraffe=giraffe_face elephant rhino=rhinoceros hippo=hippopotamus mouse=mouse2
hamster rabbit=rabbit2 hedgehog bat bear koala panda=panda_face sloth kangaroo turkey rooster chick=hatched_chick bird
penguin duck swan feather flamingo peacock parrot frog crocodile turtle snake dragon dinosaur=sauropod whale=whale2 dolphin
seal fish=tropical_fish blowfish shark octopus shell crab lobster shrimp squid snail butterfly caterpillar=bug ant bee
ladybug spider scorpion fox=fox_face owl
"""
PLANTS = """
bouquet lotus rose hibiscus sunflower tulip seedling tree=deciduous_tree pine=evergreen_tree palm=palm_tree shamrock
leaf=maple_leaf mushroom cactus
"""
FOOD = """
grapes watermelon tangerine lemon banana pineapple mango apple pear peach cherries kiwi=kiwifruit tomato coconut avocado
eggplant potato carrot corn chili=hot_pepper broccoli garlic onion bread croissant baguette=baguette_bread pretzel pancakes
waffle cheese=cheese_wedge hamburger fries pizza hotdog sandwich taco egg salad=green_salad popcorn sushi dumpling
donut=doughnut cookie cake=birthday cupcake pie chocolate=chocolate_bar candy lollipop honey=honey_pot milk=glass_of_milk
coffee wine=wine_glass cocktail beer strawberry teapot
"""
PLACES = """
house church factory tent mountain=snow_capped_mountain volcano train=steam_locomotive bus ambulance firetruck=fire_engine
taxi car truck tractor motorcycle=racing_motorcycle scooter=motor_scooter bicycle=bike skateboard anchor canoe ship
airplane helicopter rocket ufo=flying_saucer castle=european_castle sailboat=boat
"""
THINGS = """
umbrella balloon gift trophy medal=sports_medal football basketball soccer kite dice=game_die teddy=teddy_bear shirt jeans
dress socks scarf boot sneaker=athletic_shoe hat=tophat ring backpack=school_satchel bell violin trumpet saxophone
piano=musical_keyboard phone=iphone laptop=computer camera tv candle bulb book=closed_book newspaper coin key lock axe wrench
scissors pencil=pencil2 microscope telescope syringe pill chair toilet bathtub broom bucket clock=alarm_clock hourglass
ghost alien skull clown=clown_face pumpkin=jack_o_lantern heart star sun=sun_with_face cloud fire rainbow snowflake
globe=earth_americas guitar drum=drum_with_drumsticks crown hammer robot=robot_face snowman=snowman_without_snow
"""

HELD_OUT = ("castle", "cactus", "crown", "drum", "fox", "guitar", "hammer", "owl", "robot", "sailboat", "snowman", "strawberry", "teapot")
"""Nouns that the generator never sees; the scorer does, since it has to judge them."""


def parse(table: str) -> dict[str, str]:
    """Return noun -> emoji short name."""
    pairs = (entry.partition("=") for entry in table.split())
    return {noun: short_name or noun for noun, _, short_name in pairs}


SHORT_NAMES: dict[str, str] = {
    noun: short_name for table in (ANIMALS, PLANTS, FOOD, PLACES, THINGS) for noun, short_name in sorted(parse(table).items())
}
ALL_NOUNS: tuple[str, ...] = tuple(SHORT_NAMES)
TRAINED_NOUNS: tuple[str, ...] = tuple(noun for noun in ALL_NOUNS if noun not in HELD_OUT)
